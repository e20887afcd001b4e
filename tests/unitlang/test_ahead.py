"""Work done before its turn keeps its order and its errors, and ends with whoever wanted it."""

from collections.abc import Callable, Iterator
from functools import partial
from threading import Barrier, get_ident

import pytest

from unitlang.ahead import ahead, run_ahead


def test_making_ahead_keeps_order_and_errors() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number
        raise OSError("the source broke")

    items = ahead(numbers(), 3)
    for number in range(10):
        assert next(items) == number
        assert len(made) <= number + 4
    with pytest.raises(OSError, match="the source broke"):
        next(items)


def test_leaving_early_stops_the_making() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    items = ahead(numbers(), 2)
    assert next(items) == 0
    del items
    assert len(made) <= 4


def test_jobs_run_at_once_and_come_back_in_order() -> None:
    together = Barrier(3, timeout=60)

    def job(number: int) -> tuple[int, int]:
        together.wait()  # ends only if three jobs run at the same time
        return number, get_ident()

    jobs: list[Callable[[], tuple[int, int]]] = [partial(job, number) for number in range(9)]
    results = list(run_ahead(jobs, threads=3, depth=3))
    assert [number for number, _ in results] == list(range(9))
    assert len({thread for _, thread in results}) == 3
