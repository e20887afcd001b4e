"""Two workers learn the same by every strategy, precision and recomputation, and resume with the same bits."""

import pytest

from tests.echox.matrix import CELLS, Cell, Matrix, pairwise

CHOSEN = [*pairwise(CELLS), Cell("echo", "all", "ddp", "bf16", recomputed=True)]
"""Also the one in which autocast casts trained weights without gradients first."""
LIMITS = {"fp32": 1e-5, "bf16": 2e-2}


@pytest.fixture(scope="module")
def matrix(tones: str, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return Matrix(tones, tmp_path_factory.mktemp("matrix"))


@pytest.mark.slow
@pytest.mark.parametrize("cell", CHOSEN, ids=str)
def test_two_workers_learn_the_same_and_resume(matrix: Matrix, cell: Cell) -> None:
    found = matrix.run(cell)
    assert found.resumed == 0
    answers_differ = (cell.stage, cell.learns, cell.precision) == ("echo", "all", "bf16")  # and with them the targets
    assert found.apart <= (0.1 if answers_differ else LIMITS[cell.precision])
    assert found.validation > 0


def test_few_combinations_have_every_pair_of_values() -> None:
    chosen = pairwise(CELLS)
    assert len(chosen) == 12
    for fields in (("stage", "learns", "strategy"), ("strategy", "precision"), ("precision", "recomputed")):
        pairs = [{tuple(getattr(cell, name) for name in fields) for cell in cells} for cells in (CELLS, chosen)]
        assert pairs[0] == pairs[1]
