"""The readers from which fairseq2's trainer takes batches."""

from collections.abc import Iterable, Iterator
from typing import Any, Self

from typing_extensions import override

from echox.data.pipeline import TrainingBatches
from echox.data.reading import Batch
from echox.native import load_libsndfile

load_libsndfile()

from fairseq2.datasets import DataReader  # noqa: E402
from fairseq2.gang import Gang, all_sum  # noqa: E402


class TrainingReader(DataReader[Any]):
    """Gives the batches of each step, without end; its state is that of the batches."""

    def __init__(self, batches: TrainingBatches[Any], num_accumulate: int) -> None:
        """Read batches, so many for a step."""
        self._batches = batches
        self._num_accumulate = num_accumulate

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> list[Any]:
        return [next(self._batches) for _ in range(self._num_accumulate)]

    @override
    def reset(self) -> None:
        """Do nothing: there is no end."""

    @override
    def state_dict(self) -> dict[str, object]:
        return self._batches.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        self._batches.load_state_dict(state_dict)

    @property
    @override
    def num_accumulate(self) -> int:
        return self._num_accumulate


class ValidationReader(DataReader[Any]):
    """Gives the batches of a validation one by one; a worker whose batches have ended waits for the others."""

    def __init__(self, batches: Iterable[Batch], gang: Gang) -> None:
        """Read batches; the gang are the workers that share the validation."""
        self._batches = batches
        self._gang = gang
        self._iterator: Iterator[Batch] | None = None

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> list[Any]:
        if self._iterator is None:
            self._iterator = iter(self._batches)
        batch = next(self._iterator, None)
        here = int(batch is not None)
        if not (here if self._gang.size == 1 else int(all_sum(self._gang, here))):
            raise StopIteration
        return [] if batch is None else [batch]

    @override
    def reset(self) -> None:
        self._iterator = None

    @override
    def state_dict(self) -> dict[str, object]:
        return {}

    @override
    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Do nothing: a validation always begins at its first batch."""

    @property
    @override
    def num_accumulate(self) -> int:
        return 1
