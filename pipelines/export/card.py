"""The dataset card of an export: `README.md` of a Hugging Face dataset."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import yaml

from pipelines.build.statistics import DatasetStatistics, from_version, overall
from pipelines.export import licences
from pipelines.export.base import Export
from unitlang.frames import SAMPLE_RATE

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
LARGEST = "10M<n<100M"
_CODE = re.compile(r"[a-z]{2,3}")


def card(export: Export) -> str:
    """Return the card: how to load the data, what they are, how much, from what, and what is missing.

    Raises:
        CorruptStore: the statistics of the version are not those of a build.
    """
    front = yaml.safe_dump(_front_matter(export), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n\n".join(_sections(export)) + "\n"


def title(export: Export) -> str:
    """Name of the data: their datasets and the version."""
    return f"{', '.join(from_version(export.version.statistics))} (version {export.version.number})"


def split_files(export: Export) -> dict[str, list[str]]:
    """Paths of the Parquet files by split."""
    pairs = zip(export.plan.shards, export.files, strict=True)
    grouped = groupby(pairs, lambda pair: pair[0].split)
    return {split: [file.path for _, file in of_split] for split, of_split in grouped}


def _front_matter(export: Export) -> dict[str, Any]:
    languages = sorted(name for name in export.plan.languages if name and _CODE.fullmatch(name))
    utterances = sum(shard.utterances for shard in export.plan.shards)
    splits = [{"split": split, "path": f"data/{split}-*.parquet"} for split in split_files(export)]
    return {
        **({"language": languages} if languages else {}),
        **licences.front_matter(export.plan),
        "pretty_name": title(export),
        "task_categories": ["automatic-speech-recognition", "text-to-speech"],
        "tags": ["audio", "speech", "discrete-units"],
        "size_categories": [next((name for most, name in SIZES if utterances < most), LARGEST)],
        "configs": [{"config_name": "default", "data_files": splits}],
    }


def _sections(export: Export) -> Iterable[str]:
    datasets = from_version(export.version.statistics)
    yield f"# {title(export)}"
    yield (
        "Speech with its units and words of a unit language. Audio is 16 kHz mono FLAC of 16 bits; `units` are cluster "
        "indexes, one a run, `durations` the frames of each run, and `words` ids in the vocabulary of the language."
    )
    yield "Load it with `datasets.load_dataset(FOLDER)`."
    yield "## Splits\n\n" + _splits(export)
    yield "## Languages\n\n" + _languages(export)
    yield "## Licence\n\n" + _licences(export)
    yield "## Compression\n\n" + _compression({**datasets, "all": overall(datasets)})
    yield "## Rejects and omissions\n\n" + _rejects(export, overall(datasets))
    yield "## Lineage\n\n" + _lineage(export)


def _splits(export: Export) -> str:
    rows: list[Sequence[object]] = []
    for split, group in groupby(export.plan.shards, lambda shard: shard.split):
        shards = list(group)
        utterances, samples = (sum(getattr(shard, name) for shard in shards) for name in ("utterances", "samples"))
        rows.append((split, utterances, _hours(samples), len(shards)))
    return _table(("split", "utterances", "hours", "files"), rows)


def _languages(export: Export) -> str:
    counts = export.plan.languages
    order = sorted(counts, key=lambda name: (name is None, name))
    rows = [(name or "not known", _hours(counts[name])) for name in order]
    return _table(("language", "hours"), rows)


def _licences(export: Export) -> str:
    counts = export.plan.licences
    if not licences.stated(export.plan):
        return "Not recorded in the corpus; the licences of its sources hold."
    order = sorted(counts, key=lambda name: (name is None, name))
    parts = [_table(("licence", "hours"), [(_cell(name or "not known"), _hours(counts[name])) for name in order])]
    if None in counts:
        parts.append("Where no licence is known, the licences of the sources hold.")
    if named := list(licences.attributions(export.plan)):
        parts.append("Attribution:\n\n" + "\n".join(named))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    """A text of a source as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _compression(datasets: dict[str, DatasetStatistics]) -> str:
    """Ratios by dataset, of the whole version and not of held-out speech."""
    rows = [
        (name, _hours(of.samples), *(f"{ratio:.2f}" for ratio in _ratios(of)), f"{of.compression.bits_per_second:.1f}")
        for name, of in datasets.items()
    ]
    heads = ("dataset", "hours", "frames/word", "frames/run", "runs/word", "bits/s")
    note = "Measured on all speech of the corpus, which includes the speech that the unit language was learnt from."
    return f"{_table(heads, rows)}\n\n{note}"


def _ratios(statistics: DatasetStatistics) -> tuple[float, float, float]:
    counts = statistics.compression
    return counts.total_ratio, counts.dedup_ratio, counts.unit_language_ratio


def _rejects(export: Export, total: DatasetStatistics) -> str:
    parts = ["Entries of the sources that were rejected when the corpus was built, by reason:"]
    parts.append(_table(("reason", "entries"), sorted(total.rejects.items())) if total.rejects else "none.")
    if written := export.plan.left_out.get("written"):
        parts.append(f"Turns of dialogues without audio, which are left out here: {written}.")
    return "\n\n".join(parts)


def _lineage(export: Export) -> str:
    """Where the data come from, without paths, which would tell about the machine that made them."""
    version = export.version
    rows = [("corpus version", f"{version.number} ({version.created})")]
    rows += [(f"source `{source['dataset']}`", f"reader `{source['kind']}`") for source in version.config["sources"]]
    rows += [(name, f"`{artifact.fingerprint}`") for name, artifact in sorted(version.artifacts.items())]
    rows += [("extractor", f"`{version.config['features']['kind']}`")]
    rows += [(f"package {name}", number) for name, number in sorted(version.lineage["versions"].items())]
    return _table(("", ""), rows)


def _hours(samples: int) -> str:
    return f"{samples / SAMPLE_RATE / 3600:,.3f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
