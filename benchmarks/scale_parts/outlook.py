"""Costs of 6,000 h and 60,000 h: from what the benchmark of scale measured, and from rates of other benchmarks."""

from collections.abc import Iterator

from benchmarks.scale_parts.costs import FULL, Runs, line_to

HOURS = 6000
"""Hours of the corpus of `FULL` utterances."""
SIDE_BY_SIDE = 16
"""Requests of the driver in flight (`pipelines.reading.READERS`)."""
DELAY = 0.05
"""Seconds of a request."""
DEAR, CHEAP = 0.005 / 1000, 0.0004 / 1000
"""Dollars of a PUT or listing, and of a GET: prices of S3 Standard in us-east-1, not measured."""
GB_MONTH = 0.023
"""Dollars of a GB and month, likewise."""
FOR_AUDIO = 14
"""Requests of work units for the audio and text of an utterance: 56,372 of 4,000 utterances, before the benchmark made
up the contents of files."""
RATES = {
    "CPU hours of HuBERT, fp32 on cores": (HOURS / 6.2, "benchmarks/extraction.py"),
    "CPU hours of everything else": (HOURS * 18 / 3600, "benchmarks/build.py"),
    "store, GB": (HOURS * 63.9e-3 + 2.1, "benchmarks/build.py, benchmarks/corpus_costs.py"),
    "GPU hours of HuBERT, bf16 on an A100, by an assumed use of 0.3": (HOURS * 3600 / 7900 / 3600, "docs/scale.md"),
    "GPU hours of HuBERT, fp32 on an A100, by an assumed use of 0.6": (HOURS * 3600 / 990 / 3600, "docs/scale.md"),
    "row groups of 60 MB of an epoch of s2t, all ranks together": (
        HOURS * 63.9e-3 * 1.05 / 0.06,
        "benchmarks/readers.py",
    ),
}
"""Costs of 6,000 h that grow with the hours, and the page or benchmark that has the rate."""


def outlook(measured: dict[str, Runs]) -> Iterator[str]:
    """Yield the lines of the tables."""
    runs = measured["bucket"]
    few, many = sorted(runs)[-2:]
    yield f"Measured with {few:,} and {many:,} utterances in a bucket, requests {DELAY * 1000:.0f} ms late; the"
    yield f"columns of {FULL:,} (6,000 h) and {10 * FULL:,} (60,000 h) are *extrapolated* on the line through both.\n"
    yield from _driver(runs, many)
    yield from _money(runs)
    yield "\n| in proportion to the hours (*extrapolated*) | 6,000 h | 60,000 h | rate by |"
    yield "|---|---|---|---|"
    for name, (value, by) in RATES.items():
        yield f"| {name} | {_shown(value)} | {_shown(10 * value)} | {by} |"


def _driver(runs: Runs, many: int) -> Iterator[str]:
    yield f"| driver | {many:,}, measured | {FULL:,} | {10 * FULL:,} |"
    yield "|---|---|---|---|"
    rows = {"CPU s": "cpu", "requests": "requests", "of these alone": "alone", "MB": "bytes"}
    for what in ("first build", "night", "verify"):
        for title, name in rows.items():
            scale = 1e-6 if name == "bytes" else 1
            values = [runs[many][what].total(name), *(line_to(runs, what, name, size) for size in (FULL, 10 * FULL))]
            yield f"| {what}: {title} | " + " | ".join(_shown(scale * value) for value in values) + " |"
        waits = [_waits(runs, what, size) for size in (FULL, 10 * FULL)]
        yield (
            f"| {what}: seconds of added delay, at least | {_shown(_waits(runs, what, many))} | "
            + " | ".join(map(_shown, waits))
            + " |"
        )


def _waits(runs: Runs, what: str, size: int) -> float:
    """Seconds of the delay of requests: of those alone, and of the others `SIDE_BY_SIDE` at a time."""
    requests, alone = (
        line_to(runs, what, name, size) if size not in runs else runs[size][what].total(name)
        for name in ("requests", "alone")
    )
    return DELAY * (alone + (requests - alone) / SIDE_BY_SIDE)


def _money(runs: Runs) -> Iterator[str]:
    yield "\n| S3, dollars (*extrapolated*) | 6,000 h | 60,000 h |"
    yield "|---|---|---|"
    for what in ("first build", "night", "verify"):
        few, many = (_dollars(runs, what, size) for size in (FULL, 10 * FULL))
        yield f"| requests of {what}, without those for audio and texts | {few:.2f} | {many:.2f} |"
    few, many = (FOR_AUDIO * size * CHEAP for size in (FULL, 10 * FULL))
    yield f"| {FOR_AUDIO} requests for each utterance's audio and text, first build | {few:.2f} | {many:.2f} |"
    store = RATES["store, GB"][0] * GB_MONTH
    yield f"| the store, a month | {store:.0f} | {10 * store:.0f} |"


def _dollars(runs: Runs, what: str, size: int) -> float:
    dear = sum(line_to(runs, what, name, size) for name in ("dear", "work_dear"))
    every = sum(line_to(runs, what, name, size) for name in ("requests", "work_requests"))
    return dear * DEAR + (every - dear) * CHEAP


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"
