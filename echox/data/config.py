"""How examples become batches."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DataConfig(BaseModel):
    """Lengths are counted in positions of the stage's decoder: tokens, words and, at most, frames of speech."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    batch_length: Annotated[int, Field(ge=1)] = 16_384
    """Positions of a batch on one worker, padding included."""
    max_length: Annotated[int, Field(ge=8)] = 2_048
    """Examples of more positions are left out and counted (`skipped`)."""
    shuffle_rows: Annotated[int, Field(ge=1)] = 1_024
    """Examples that are held to draw the next one from, besides the shuffled order of the files' row groups."""
    prefetch: Annotated[int, Field(ge=1)] = 4
    """Batches made ahead."""
    threads: Annotated[int, Field(ge=1)] = 2
    """Threads that make batches (decoding audio, features) on each worker."""
    held_out: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the examples that validate, where the corpus has no rows of a split `valid` or `dev`."""
    valid_batches: Annotated[int, Field(ge=1)] | None = 64
    """Most batches of a validation, of all workers together; null for all of them."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_length < self.max_length:
            raise ValueError(f"batch_length {self.batch_length} is less than max_length {self.max_length}")
        return self
