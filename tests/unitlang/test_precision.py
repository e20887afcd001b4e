"""Precision is full as long as any thread computes, and afterwards what it was."""

from collections.abc import Generator
from threading import Thread

import pytest
import torch

from unitlang.precision import full_precision


def allowed() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture(params=[("medium", True), ("high", False), ("highest", True)])
def before(request: pytest.FixtureRequest) -> Generator[tuple[str, bool]]:
    default = allowed()
    torch.set_float32_matmul_precision(request.param[0])
    torch.backends.cudnn.allow_tf32 = request.param[1]
    yield request.param
    torch.set_float32_matmul_precision(default[0])
    torch.backends.cudnn.allow_tf32 = default[1]


def test_products_and_convolutions_are_full_inside(before: tuple[str, bool]) -> None:
    with full_precision():
        assert allowed() == ("highest", False)
        with full_precision():
            assert allowed() == ("highest", False)
        assert allowed() == ("highest", False)
    assert allowed() == before


def test_it_is_restored_after_an_error(before: tuple[str, bool]) -> None:
    with pytest.raises(ValueError, match="inside"), full_precision():
        raise ValueError("inside")
    assert allowed() == before


def test_a_thread_that_ends_first_takes_it_from_no_other(before: tuple[str, bool]) -> None:
    outer, inner = full_precision(), full_precision()
    first = Thread(target=outer.__enter__)
    first.start()
    first.join()
    with inner:  # began later and computes on when the first one is done
        last = Thread(target=outer.__exit__, args=(None, None, None))
        last.start()
        last.join()
        assert allowed() == ("highest", False)
    assert allowed() == before
