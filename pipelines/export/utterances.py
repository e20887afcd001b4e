"""The utterances of a shard, with their audio, units and words.

Legend: N = samples at 16 kHz.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipelines.engine.step import noted
from pipelines.entries.roots import Roots, located
from pipelines.errors import UserError
from pipelines.export.kept_audio import KeptAudio
from pipelines.export.plan import Piece, Shard
from pipelines.readers.rows.names import ACCEPTED
from pipelines.records import SpokenRow
from pipelines.sources.audio_files import place_of, row_streams
from pipelines.steps.shard import to_pcm
from storage.store import Store
from storage.tables import read_table

Pcm = Iterator[NDArray[np.int16]]
"""Consecutive blocks pcm_N of 16-bit samples."""


@dataclass(frozen=True)
class Utterance:
    """An utterance to write.

    Attributes:
        facts: what the corpus knows of it, as JSON values: id, dataset, split, task, text, language, speaker,
            dialogue_id, turn, role, licence, attribution, consent, source_url, num_samples (at 16 kHz), num_frames,
            units (one a run), durations (frames of each run), words.
        pcm: its audio; read it to the end before the next utterance.
    """

    facts: dict[str, Any]
    pcm: Pcm


def utterances(store: Store, shard: Shard, kept: KeptAudio, roots: Roots) -> Iterator[Utterance]:
    """Yield the utterances of a shard in the order of the corpus; tables of one work unit are held at a time.

    Args:
        store: the corpus.
        shard: part of its version.
        kept: audio of those whose source is gone.
        roots: roots of the datasets.

    Raises:
        StorageError: a table cannot be read.
        UserError: the source of an utterance is gone or changed, and the training shards do not hold its audio.
        AudioError: audio that `quantize` could decode cannot be decoded any more.
    """
    for piece in shard.pieces:
        units = _by_id(store, piece.tables.units)
        words = _by_id(store, piece.tables.words)
        for row, pcm in _sounds(located(_rows(store, piece, units), roots), kept):
            name = row["utterance_id"]
            yield Utterance(_facts(row, units[name], words[name]), pcm)


def _by_id(store: Store, path: str) -> dict[str, dict[str, Any]]:
    return {row["utterance_id"]: row for row in read_table(store, path).to_pylist()}


def _rows(store: Store, piece: Piece, units: dict[str, dict[str, Any]]) -> list[SpokenRow]:
    rows = read_table(store, piece.tables.utterances).to_pylist()
    of_split = [row for row in rows if row["utterance_id"] in units and row["split"] in piece.splits]
    return of_split[piece.start : piece.stop]


def _facts(row: SpokenRow, units: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["utterance_id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "task": row["task"],
        "text": row["text"],
        "language": row["language"],
        "speaker": row["speaker_id"],
        "dialogue_id": row["dialogue_id"],
        "turn": row["turn"],
        "role": row["role"],
        **{name: row.get(name) for name in ACCEPTED},
        "num_samples": row["num_samples"],
        "num_frames": units["num_frames"],
        "units": units["units"],
        "durations": units["durations"],
        "words": words["words"],
    }


def _sounds(rows: Sequence[SpokenRow], kept: KeptAudio) -> Iterator[tuple[SpokenRow, Pcm]]:
    """Yield the audio of the utterances of one work unit: of their sources, or else of the training shards."""
    found: dict[str, bytes] | None = None
    for _, group in groupby(rows, lambda row: (row["audio"], row.get("root"), row.get("channel"))):
        of_file = list(group)
        streams = row_streams(of_file)
        try:
            first = next(streams)
        except UserError as error:
            if found is None:
                found = kept.flacs({row["utterance_id"] for row in rows})
            yield from ((row, _counted(row, _kept_pcm(row, found, error))) for row in of_file)
            continue
        yield from ((row, _counted(row, map(to_pcm, blocks))) for row, blocks in chain([first], streams))


def _kept_pcm(row: SpokenRow, found: dict[str, bytes], error: UserError) -> Pcm:
    name = row["utterance_id"]
    if name not in found:
        raise UserError(f"{error} (the training shards do not hold {name})") from error
    pcm_N, _ = soundfile.read(io.BytesIO(found[name]), dtype="int16")
    yield np.asarray(pcm_N, np.int16)


def _counted(row: SpokenRow, blocks: Iterable[NDArray[np.int16]]) -> Pcm:
    """Yield the blocks of an utterance.

    Raises:
        UserError: there are fewer or more samples than the corpus states.
    """
    samples = 0
    with noted(place_of(row)):
        for pcm_N in blocks:
            samples += len(pcm_N)
            yield pcm_N
    if samples != row["num_samples"]:
        raise UserError(f"{place_of(row)}: {samples} samples, but the corpus states {row['num_samples']}")
