"""What a stage brings to the reading of its table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch

Row = Mapping[str, Any]


class Example(Protocol):
    """One row, tokenised."""

    @property
    def length(self) -> int:
        """Positions that it takes in a batch, at most."""
        ...


class Batch(Protocol):
    """Some examples in tensors."""

    @property
    def num_examples(self) -> int:
        """How many."""
        ...

    @property
    def num_positions(self) -> int:
        """Their positions in the stage's decoder, without padding."""
        ...

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """Move to a device, in place."""
        ...


ExampleT = TypeVar("ExampleT", bound=Example)


@dataclass(frozen=True)
class Reading(Generic[ExampleT]):
    """How a stage reads its table.

    Attributes:
        table: name of the training table.
        columns: those that are read.
        example: from a row to an example.
        collate: from examples to a batch.
    """

    table: str
    columns: tuple[str, ...]
    example: Callable[[Row], ExampleT]
    collate: Callable[[Sequence[ExampleT]], Batch]
