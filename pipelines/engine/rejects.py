"""Describe rejects with counts, reasons and examples, and stop a build that has too many."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from pipelines.errors import UserError
from pipelines.records import Receipts, dataset_counts
from storage.receipts import Receipt
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import FrameGrid
from unitlang.printing import shown

SHOWN_REJECTS = 5
COLUMNS = ("dataset", "source", "reason", "message")

Example = dict[str, str]
"""A reject: values by `COLUMNS`."""


def check_rejects(store: Store, steps: Receipts, step: str, max_ratio: float) -> None:
    """Refuse to continue after a step with which there are too many rejects.

    Args:
        store: the corpus.
        steps: receipts so far.
        step: name of the step.
        max_ratio: largest accepted ratio of rejects to entries.

    Raises:
        UserError: the ratio is above `max_ratio`; the message has the reasons and some examples.
        StorageError: the rejects cannot be read.
    """
    entries, rejects = _entries(steps), count_reasons(chain.from_iterable(steps.values())).total()
    if not entries or rejects <= max_ratio * entries:
        return
    raise UserError(
        f"max_reject_ratio: after step {step}, {_described(steps)}; allowed {max_ratio:.1%}\n"
        f"{_examples(store, steps, SHOWN_REJECTS)}"
        "Nothing was committed. Mend the sources, or raise max_reject_ratio (0 to 1)."
    )


def check_some_left(store: Store, steps: Receipts, step: str) -> None:
    """Refuse to continue after a step that rejected everything.

    Args:
        store: the corpus.
        steps: receipts so far.
        step: name of the step.

    Raises:
        UserError: no row is left; the message has the reasons and some examples.
        StorageError: the rejects cannot be read.
    """
    if any(receipt.rows_out for receipt in steps[step]):
        return
    if not count_reasons(chain.from_iterable(steps.values())):
        raise UserError("sources: no speech found; check `path` and `kind` of each source")
    raise UserError(f"sources: {_described(steps)}\n{_examples(store, steps, SHOWN_REJECTS)}Mend the sources.")


def check_speech(store: Store, steps: Receipts, k: int, grid: FrameGrid) -> None:
    """Refuse k clusters if there are rejects and the remaining speech has fewer than k frames.

    Args:
        store: the corpus.
        steps: receipts so far.
        k: number of clusters.
        grid: frame grid of the extractor.

    Raises:
        UserError: too few frames are left; the message has the reasons and an example.
        StorageError: the rejects cannot be read.
    """
    totals = [counts for _, counts in dataset_counts(steps["ingest"])]
    lost = grid.view - grid.hop  # samples of each utterance that give no frame
    frames = sum(counts["samples"] - lost * counts["utterances"] for counts in totals) // grid.hop
    if frames >= k or not count_reasons(steps["ingest"]):
        return
    raise UserError(
        f"sources: {_described(steps)}\n{_examples(store, steps, 1)}"
        f"What is left has {max(0, frames)} frames at most ({grid.seconds(max(0, frames)):.1f} s of speech); "
        f"quantizer.k asks for {k} clusters, which need as many. Mend the sources, add speech, or lower quantizer.k."
    )


def count_reasons(receipts: Iterable[Receipt]) -> Counter[str]:
    """Number of rejects by reason."""
    return sum((Counter(receipt.rejects) for receipt in receipts), Counter[str]())


def examples(store: Store, receipts: Iterable[Receipt], each: int) -> dict[str, list[Example]]:
    """The first rejects of each reason; only files with such rejects are read.

    Args:
        store: the corpus.
        receipts: receipts whose rejects are wanted.
        each: largest number of rejects for each reason.

    Raises:
        StorageError: a file cannot be read.
    """
    found: dict[str, list[Example]] = {}
    for receipt in receipts:
        if all(len(found.get(reason, ())) >= each for reason in receipt.rejects):
            continue
        for file in (file for file in receipt.files if file.table == "rejects"):
            for row in read_table(store, file.path, COLUMNS).to_pylist():
                of_reason = found.setdefault(row["reason"], [])
                if len(of_reason) < each:
                    of_reason.append(row)
    return found


def _entries(steps: Receipts) -> int:
    return sum(receipt.rows_in for receipt in steps["ingest"])


def _described(steps: Receipts) -> str:
    """The counts in words, for instance `3 of 11 entries were rejected (27.3%): corrupt 2, missing 1`."""
    reasons = count_reasons(chain.from_iterable(steps.values()))
    counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    entries = _entries(steps)
    return f"{reasons.total()} of {entries} entries were rejected ({reasons.total() / entries:.1%}): {counts}"


def _examples(store: Store, steps: Receipts, most: int) -> str:
    """About `most` rejects, one line each, the most frequent reasons first."""
    receipts = list(chain.from_iterable(steps.values()))
    reasons = [reason for reason, _ in count_reasons(receipts).most_common(most)]
    found = examples(store, receipts, max(1, most // len(reasons)))
    rows = [row for reason in reasons for row in found[reason]]
    return "".join(shown(f"  {row['source']}: {row['message']} [{row['reason']}]") + "\n" for row in rows)
