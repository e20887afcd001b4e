"""Large tables of small examples, written by `storage` alone, and a reading of them that needs no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from echox.data.contents import contents_to_be_written
from echox.data.corpus import Corpus
from echox.data.reading import Reading
from storage.receipts import Receipt, write_output
from storage.schemas import ROW_GROUP_ROWS, SCHEMAS
from storage.store import Store
from storage.versions import Version, commit, latest

ROWS = ROW_GROUP_ROWS["s2t"]


@dataclass(frozen=True)
class Sized:
    """An example of some length.

    Attributes:
        name: id of the row.
        length: positions.
        audio: bytes as they were read.
    """

    name: str
    length: int
    audio: bytes


@dataclass
class Names:
    """A batch: its examples, by their names."""

    names: list[str]
    lengths: list[int]

    @property
    def num_examples(self) -> int:
        return len(self.names)

    @property
    def num_positions(self) -> int:
        return sum(self.lengths)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """Stay."""


def sized_reading(audio_bytes: int = 0) -> Reading[Sized]:
    """Read names and lengths; each row's audio is checked to be its own, if it has some."""

    def example(row: dict[str, Any]) -> Sized:
        return Sized(row["response"], row["num_samples"], row["audio"])

    def collate(examples: Sequence[Sized]) -> Names:
        for item in examples:
            assert item.audio == audio_of(item.name, audio_bytes)
        return Names([item.name for item in examples], [item.length for item in examples])

    return Reading("s2t", ("audio", "num_samples", "response"), example, collate, audio=("audio",))


def audio_of(name: str, size: int) -> bytes:
    """Bytes that do not shrink, other ones for each name."""
    return np.random.default_rng(list(name.encode())).bytes(size)


def write_shelves(
    place: Path | str,
    files: int,
    rows: int = 2 * ROWS,
    *,
    audio_bytes: int = 0,
    stated: bool = True,
    splits: Sequence[str | None] = (None,),
) -> Corpus:
    """A version with so many files of so many examples; lengths of 8 to 100, short ones mostly.

    Args:
        place: path or URL of the store, which is extended if it is there.
        files: number of shards.
        rows: rows of each.
        audio_bytes: bytes of the audio of a row.
        stated: whether the receipts say what is in the files.
        splits: splits of the rows in turn.
    """
    store = Store.open(place, create=True)
    last = latest(store)
    receipts: list[Receipt] = [*last.steps["shard"]] if last else []
    receipts += [
        _write_file(store, number, rows, audio_bytes, splits, stated=stated)
        for number in range(len(receipts), len(receipts) + files)
    ]
    version = Version(
        number=last.number + 1 if last else 1,
        parent=last.number if last else None,
        steps={"shard": receipts},
        artifacts={},
        config={},
        lineage={},
        statistics={},
    )
    return Corpus(store, commit(store, version))


def _write_file(
    store: Store, number: int, rows: int, audio_bytes: int, splits: Sequence[str | None], *, stated: bool
) -> Receipt:
    lengths = 8 + np.minimum(np.random.default_rng(number).exponential(18, rows), 92).astype(int)
    table = [
        {
            "example_id": (name := f"{number:04}-{row:05}"),
            "dataset": "d",
            "split": splits[row % len(splits)],
            "audio": audio_of(name, audio_bytes),
            "num_samples": int(length),
            "prompt": "",
            "response": name,
        }
        for row, length in enumerate(lengths)
    ]
    keys = [(row["example_id"], row["split"]) for row in table]
    stats = {"contents": {"s2t": contents_to_be_written("s2t", keys)}} if stated else {}
    tables = [("s2t", pa.Table.from_pylist(table, SCHEMAS["s2t"]))]
    return write_output(store, "shard", f"{number:08x}", tables, rows_in=rows, rows_out=rows, rejects={}, stats=stats)
