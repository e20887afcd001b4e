"""Hugging Face: Parquet with an Audio feature, a dataset card, and Croissant metadata."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.export import croissant
from pipelines.export.base import Export, Format
from pipelines.export.card import card
from pipelines.export.files import write_text
from pipelines.export.names import archive_key
from pipelines.export.plan import Shard
from pipelines.export.utterances import Utterance
from pipelines.steps.shard import to_flac
from unitlang.frames import SAMPLE_RATE

_INTEGERS = pa.list_(pa.uint16())
COLUMNS = {
    "id": pa.string(),
    "audio": pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
    "text": pa.string(),
    "language": pa.string(),
    "speaker": pa.string(),
    "dataset": pa.string(),
    "split": pa.string(),
    "task": pa.string(),
    "dialogue_id": pa.string(),
    "turn": pa.int32(),
    "role": pa.string(),
    "licence": pa.string(),
    "attribution": pa.string(),
    "consent": pa.string(),
    "source_url": pa.string(),
    "num_samples": pa.int64(),
    "num_frames": pa.int64(),
    "units": _INTEGERS,
    "durations": _INTEGERS,
    "words": pa.list_(pa.int32()),
}
"""Columns and their types; all but `audio` are facts of an utterance."""
GROUP_ROWS = 100
"""Rows of a row group at most, as the Hub writes audio."""
GROUP_BYTES = 2**25
"""FLAC after which a row group ends."""
CROISSANT = "croissant.json"


class HuggingFace(Format):
    """A folder that `datasets.load_dataset` reads, or that can be uploaded as a dataset repository."""

    name: ClassVar[str] = "hf"
    revision: ClassVar[int] = 2

    def check(self) -> None:
        """See `Format.check`."""
        croissant.check()

    def paths(self, shard: Shard) -> list[str]:
        """See `Format.paths`."""
        return [f"data/{shard.split}-{shard.number:05d}-of-{shard.count:05d}.parquet"]

    def write(self, drafts: Sequence[Path], utterances: Iterable[Utterance]) -> None:
        """See `Format.write`."""
        codecs: Any = {**dict.fromkeys(COLUMNS, "zstd"), "audio.bytes": "none", "audio.path": "zstd"}
        strings: Any = [name for name, kind in COLUMNS.items() if pa.types.is_string(kind)]
        with pq.ParquetWriter(drafts[0], schema(), compression=codecs, use_dictionary=strings) as writer:
            for rows in _groups(utterances):
                writer.write_table(pa.Table.from_pylist(rows, schema()), row_group_size=len(rows))

    def finish(self, export: Export) -> list[str]:
        """See `Format.finish`."""
        described = json.dumps(croissant.metadata(export, COLUMNS), indent=1, ensure_ascii=False)
        return [
            write_text(export.folder, "README.md", card(export)),
            write_text(export.folder, CROISSANT, described + "\n"),
        ]


def schema() -> pa.Schema:
    """The columns, with the metadata from which `datasets` learns that `audio` is audio."""
    features = {name: _feature(kind) for name, kind in COLUMNS.items()}
    features["audio"] = {"_type": "Audio", "sampling_rate": SAMPLE_RATE}
    return pa.schema(COLUMNS.items(), {"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"_type": "Sequence", "feature": _feature(kind.value_type)}
    return {"_type": "Value", "dtype": str(kind)}


def _groups(utterances: Iterable[Utterance]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one row group after the other."""
    rows: list[dict[str, Any]] = []
    size = 0
    for utterance in utterances:
        flac = to_flac(utterance.pcm)
        audio = {"bytes": flac, "path": f"{archive_key(utterance.facts['id'])}.flac"}
        rows.append({**utterance.facts, "audio": audio})
        size += len(flac)
        if len(rows) == GROUP_ROWS or size >= GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
