"""Settings of batches."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from unitlang.config import FrozenConfig


class DataConfig(FrozenConfig):
    """How examples become batches; lengths count positions of the stage's decoder: tokens, words, frames of speech."""

    max_tokens: Annotated[int, Field(ge=1)] = 16_384
    """Positions of a batch on one worker, padding included."""
    max_length: Annotated[int, Field(ge=8)] = 2_048
    """Longest example in positions; longer ones are skipped and counted (`skipped`)."""
    streams: Annotated[int, Field(ge=1, le=4096)] = 64
    """Streams that row groups are dealt to, and that batches are taken from in turn; small tables have fewer. Batches
    depend on it, not on the number of workers. With a multiple of that number, each worker reads only its share."""
    shuffle_rows: Annotated[int, Field(ge=1)] = 8_192
    """Examples in the shuffle buffers of all streams; row groups, and the rows in each, are shuffled too."""
    prefetch: Annotated[int, Field(ge=1)] = 4
    """Batches that are prepared ahead."""
    threads: Annotated[int, Field(ge=1)] = 2
    """Threads of each worker that prepare batches (decode audio)."""
    valid_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the examples that is held out, where the corpus has no rows of a split `valid` or `dev`."""
    valid_batches: Annotated[int, Field(ge=1)] | None = 64
    """Most batches of a validation, over all workers; null for all of them."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_tokens < self.max_length:
            raise ValueError(f"max_tokens {self.max_tokens} is less than max_length {self.max_length}")
        return self
