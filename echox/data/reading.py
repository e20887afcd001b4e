"""How a stage reads its training table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch


class Example(Protocol):
    """One row, tokenised."""

    @property
    def length(self) -> int:
        """Most positions that it takes in a batch."""
        ...


class Batch(Protocol):
    """Several examples in tensors."""

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        ...

    @property
    def num_positions(self) -> int:
        """Positions of the examples in the stage's decoder, without padding."""
        ...

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """Move the batch to a device, in place."""
        ...


ExampleT = TypeVar("ExampleT", bound=Example)


@dataclass(frozen=True)
class Beside:
    """Columns of other files, which have the same rows in the same row groups as the files of a table.

    Attributes:
        paths: path of the other file by that of the table's file.
        columns: columns to read there.
    """

    paths: Mapping[str, str]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Reading(Generic[ExampleT]):
    """How a stage reads its training table.

    Attributes:
        table: name of the training table.
        columns: columns to read.
        example: makes an example from a row, a mapping of these columns.
        collate: makes a batch from examples.
        audio: those of the columns that hold audio: most of the bytes, and the length does not depend on them.
        beside: columns of other files, which an example is made from too.
    """

    table: str
    columns: tuple[str, ...]
    example: Callable[[Any], ExampleT]
    collate: Callable[[Sequence[ExampleT]], Batch]
    audio: tuple[str, ...] = ()
    beside: Beside | None = None

    def length(self, row: Mapping[str, Any]) -> int:
        """Return the length of the example of a row, which need not have the audio."""
        return self.example({**row, **dict.fromkeys(self.audio, b"")}).length
