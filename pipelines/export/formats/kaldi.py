"""Kaldi and ESPnet: a data directory for each split."""

import json
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from heapq import merge
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from pipelines.export.base import Export, Format
from pipelines.export.files import STATE, UNFINISHED, whole_files
from pipelines.export.names import kaldi_ids
from pipelines.export.plan import Shard
from pipelines.export.utterances import Utterance
from unitlang.frames import SAMPLE_RATE

OPTIONAL = ("text", "utt2lang")
"""Files that list only the utterances of which this is known, and are left out if there is none."""
OPEN_FILES = 200
"""Files that are merged at a time."""
_BYTES_A_SAMPLE = 2


class Kaldi(Format):
    """Audio as WAV in archives, and sorted tables of text.

    While the export runs, each shard has its rows in a sorted file of its own; the tables are merged from them, so that
    no table is ever held in memory.
    """

    name: ClassVar[str] = "kaldi"

    def paths(self, shard: Shard) -> list[str]:
        """See `Format.paths`."""
        return [f"{shard.split}/audio/{shard.number:05d}.ark", _rows_path(shard)]

    def write(self, drafts: Sequence[Path], utterances: Iterable[Utterance]) -> None:
        """See `Format.write`; the rows of a shard are held to sort them."""
        archive = f"audio/{drafts[0].name.removesuffix(UNFINISHED)}"
        with drafts[0].open("wb") as file:
            rows = [_row(utterance, archive, _put(file, utterance)) for utterance in utterances]
        drafts[1].write_text("".join(sorted(rows)), "utf-8", newline="\n")

    def finish(self, export: Export) -> list[str]:
        """See `Format.finish`."""
        written: list[str] = []
        for split, shards in groupby(export.plan.shards, lambda shard: shard.split):
            rows = _merged([export.folder / _rows_path(shard) for shard in shards])
            written += _write_tables(export.folder, split, rows)
        return written


def _rows_path(shard: Shard) -> str:
    return f"{STATE}/{shard.split}.{shard.number:05d}.rows"


def _put(file: BinaryIO, utterance: Utterance) -> int:
    """Append an utterance to an archive as WAV; return where the WAV begins."""
    file.write(f"{_ids(utterance.facts)[0]} ".encode())
    start = file.tell()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, _BYTES_A_SAMPLE, SAMPLE_RATE, utterance.facts["num_samples"], "NONE", "not compressed"))
        for pcm_N in utterance.pcm:
            sound.writeframesraw(pcm_N.astype("<i2").tobytes())
    return start


def _ids(facts: Mapping[str, Any]) -> tuple[str, str]:
    return kaldi_ids(facts["id"], facts["dataset"], facts["speaker"])


def _row(utterance: Utterance, archive: str, start: int) -> str:
    """A line of the rows of a shard: the id, by which lines sort, and the entry of the utterance in each table."""
    facts = utterance.facts
    name, speaker = _ids(facts)
    entries = {
        "wav.scp": f"{archive}:{start}",
        "utt2spk": speaker,
        "utt2dur": str(facts["num_samples"] / SAMPLE_RATE),
        "text": " ".join((facts["text"] or "").split()),
        "utt2lang": "_".join((facts["language"] or "").split()),
        "units": " ".join(map(str, _frames(facts["units"], facts["durations"]))),
        "words": " ".join(map(str, facts["words"])),
    }
    return f"{name}\t{json.dumps(entries, ensure_ascii=False)}\n"


def _frames(units: Iterable[int], durations: Iterable[int]) -> Iterator[int]:
    """The unit of each frame."""
    for unit, frames in zip(units, durations, strict=True):
        yield from repeat(unit, frames)


def _merged(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of sorted files in order; many files are first merged to fewer, beside the first of them."""
    if len(paths) > OPEN_FILES:
        groups = [paths[start : start + OPEN_FILES] for start in range(0, len(paths), OPEN_FILES)]
        paths = [_merge_to(group[0].with_suffix(f"{group[0].suffix}.merged"), group) for group in groups]
        yield from _merged(paths)
        return
    with ExitStack() as stack:
        yield from merge(*(stack.enter_context(path.open(encoding="utf-8", newline="\n")) for path in paths))


def _merge_to(target: Path, paths: Sequence[Path]) -> Path:
    with target.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_merged(paths))
    return target


def _write_tables(folder: Path, split: str, rows: Iterable[str]) -> list[str]:
    """Write the tables of a split from its rows; return the paths of those that have any entry."""
    tables = ["wav.scp", "utt2spk", "utt2dur", "text", "utt2lang", "units", "words"]
    paths = [f"{split}/{table}" for table in (*tables, "spk2utt")]
    with whole_files(folder, paths) as drafts, ExitStack() as stack:
        files = [stack.enter_context(draft.open("w", encoding="utf-8", newline="\n")) for draft in drafts]
        for speaker, group in groupby(map(_parsed, rows), lambda row: row[1]["utt2spk"]):
            names: list[str] = []
            for name, entries in group:
                names.append(name)
                for table, file in zip(tables, files, strict=False):
                    if entries[table] or table not in OPTIONAL:
                        file.write(f"{name} {entries[table]}".rstrip() + "\n")
            files[-1].write(f"{speaker} {' '.join(names)}\n")
    return [path for path in paths if not _dropped(folder / path)]


def _parsed(row: str) -> tuple[str, dict[str, str]]:
    name, _, entries = row.partition("\t")
    return name, json.loads(entries)


def _dropped(path: Path) -> bool:
    """Remove a table of what is known of no utterance; return whether it was one."""
    unknown = path.name in OPTIONAL and path.stat().st_size == 0
    if unknown:
        path.unlink()
    return unknown
