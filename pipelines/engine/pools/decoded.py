"""Audio of a work unit that one process decodes for another.

Legend: N = samples at 16 kHz.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unitlang.errors import AudioError

Block = NDArray[np.float32]


class Heard(TypedDict):
    """Decoded audio of an utterance.

    Attributes:
        blocks: lengths of its blocks in samples at 16 kHz.
        fault: reason, message and source of the fault that ended it; None if it was decoded to its end.
    """

    blocks: list[int]
    fault: tuple[Any, str, str] | None


@dataclass(frozen=True)
class Decoded:
    """Decoded utterances: the same samples, in the same blocks, with the same faults as where they are decoded.

    Attributes:
        samples_N: samples of all utterances, one after the other.
        utterances: the utterances in their order.
    """

    samples_N: Block
    utterances: list[Heard]

    @classmethod
    def of(cls, streams: Iterable[Iterator[Block]]) -> "Decoded":
        """Read the blocks of utterances to their ends or faults.

        Raises:
            UserError: a file is missing or changed.
        """
        blocks: list[Block] = []
        utterances: list[Heard] = []
        for stream in streams:
            begin, fault = len(blocks), None
            try:
                blocks.extend(stream)
            except AudioError as error:
                fault = error.reason, error.message, error.source
            utterances.append(Heard(blocks=[len(block) for block in blocks[begin:]], fault=fault))
        return cls(np.concatenate([np.empty(0, np.float32), *blocks]), utterances)

    def streams(self) -> Iterator[Iterator[Block]]:
        """Yield the blocks waveform_N of each utterance, which raise the AudioError of its fault at their end."""
        lengths = [sum(heard["blocks"]) for heard in self.utterances]
        for heard, begin in zip(self.utterances, accumulate(lengths, initial=0), strict=False):
            yield self._blocks(heard, begin)

    def _blocks(self, heard: Heard, begin: int) -> Iterator[Block]:
        for start, end in pairwise(accumulate(heard["blocks"], initial=begin)):
            yield self.samples_N[start:end].copy()  # like what a decoder yields: Ray's memory cannot be written
        if heard["fault"]:
            raise AudioError(*heard["fault"])

    def columns(self) -> dict[str, pa.Array]:
        """Columns `samples` and `utterances` of a table of one row; the samples are not copied."""
        ends = pa.py_buffer(np.array([0, self.samples_N.nbytes], np.int64))
        samples = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(self.samples_N)])
        return {"samples": samples, "utterances": pa.array([json.dumps(self.utterances)])}

    @classmethod
    def from_row(cls, table: pa.Table) -> "Decoded | None":
        """Read what `columns` wrote into the first row of a table, without a copy; None if it holds no audio."""
        utterances, samples = table["utterances"][0].as_py(), table["samples"][0]
        if utterances is None:
            return None
        return cls(np.frombuffer(samples.as_buffer(), np.float32), json.loads(utterances))


NOTHING = {"samples": pa.nulls(1, pa.large_binary()), "utterances": pa.nulls(1, pa.string())}
"""Columns of a work unit that is not decoded for another process."""
