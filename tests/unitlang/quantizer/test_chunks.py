"""Chunks: in order, in float32, a bounded number at a time."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from unitlang.quantizer.chunks import CHUNK_FRAMES, FloatArray, start_workers


@pytest.mark.parametrize("threads", [1, 3])
def test_in_order_and_in_float32(threads: int) -> None:
    frames_ND = np.arange(5 * CHUNK_FRAMES + 7, dtype=np.float64)[:, None]
    with start_workers(threads) as workers:
        parts = list(workers.each_chunk(lambda part_ND, first: (first, part_ND), frames_ND))
    assert [first for first, _ in parts] == list(range(0, len(frames_ND), CHUNK_FRAMES))
    assert all(part_ND.dtype == np.float32 for _, part_ND in parts)
    assert np.array_equal(np.concatenate([part_ND for _, part_ND in parts]), frames_ND.astype(np.float32))


def test_few_chunks_are_under_way() -> None:
    begun: list[int] = []
    frames_ND = np.zeros((20 * CHUNK_FRAMES, 1), np.float16)
    with start_workers(2) as workers:
        for taken, _ in enumerate(workers.each_chunk(lambda _, first: begun.append(first), frames_ND), 1):
            assert len(begun) <= taken + 4
    assert len(begun) == 20


def test_faults_reach_the_caller() -> None:
    def fail(part_ND: FloatArray, first: int) -> None:
        raise ValueError(f"at {first}")

    with start_workers(2) as workers, pytest.raises(ValueError, match="at 0"):
        list(workers.each_chunk(fail, np.zeros((10, 1), np.float32)))


def test_matrix_products_take_one_thread() -> None:
    with start_workers(2):
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
