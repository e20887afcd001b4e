import numpy as np
import pytest

from unitlang.language.plausibility import is_plausible, pairs_runs_per_word


@pytest.mark.parametrize(
    ("sequences", "num_pairs", "expected"),
    [
        ([[1, 2, 3, 1, 2, 3]], 0, 1.0),
        ([[1, 2, 3, 1, 2, 3]], 1, 6 / 4),
        ([[1, 1, 1, 1, 1]], 5, 5 / 3),  # overlapping pairs: two of them
        ([[1, 2, 3, 4]], 5, 1.0),  # no pair occurs twice
        ([[1], [2], [1], [2], [1, 2], [1, 2]], 5, 8 / 6),  # none across sequences
        ([[], [1, 2, 1, 2], []], 5, 2.0),
        ([[1]], 5, 1.0),
    ],
)
def test_pairs_alone(sequences: list[list[int]], num_pairs: int, expected: float) -> None:
    arrays = [np.array(sequence, np.uint16) for sequence in sequences]
    assert pairs_runs_per_word(arrays, 5, num_pairs) == pytest.approx(expected)


def test_a_language_may_not_be_far_worse_than_pairs() -> None:
    assert is_plausible(1.6, 1.5)
    assert not is_plausible(1.02, 1.5)
    assert is_plausible(1.0, 1.05)  # nothing to gain
