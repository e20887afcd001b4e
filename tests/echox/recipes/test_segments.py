import pytest

from echox.models.ragged import Ragged
from echox.recipes.segments import cut

FULL_STOP, END = 9, 0


def pieces(*answers: list[int], shortest: int, longest: int) -> list[tuple[int, int, int]]:
    segments = cut(Ragged.of([[*answer, END] for answer in answers]), {FULL_STOP}.__contains__, shortest, longest)
    return list(zip(segments.example_S.tolist(), segments.start_S.tolist(), segments.lengths_S.tolist(), strict=True))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([1, 2], [(0, 2)]),
        ([1, FULL_STOP, 2, 3, FULL_STOP, 4], [(0, 5), (5, 1)]),  # the first stop comes too early
        ([1, 2, 3, 4, 5, 6, 7, 8], [(0, 6), (6, 2)]),  # no stop at all
        ([1, 2, 3, FULL_STOP], [(0, 4)]),
        ([], []),
    ],
)
def test_answers_are_cut_at_sentences(answer: list[int], expected: list[tuple[int, int]]) -> None:
    assert pieces(answer, shortest=3, longest=6) == [(0, *piece) for piece in expected]


def test_segments_of_a_batch_together_are_its_answers() -> None:
    answers = [[1, FULL_STOP] * 7, [5], [6] * 20]
    responses = Ragged.of([[*answer, END] for answer in answers])
    segments = cut(responses, {FULL_STOP}.__contains__, 3, 6)
    found: list[list[int]] = [[], [], []]
    for example, row in zip(segments.example_S.tolist(), segments.of(responses).rows(), strict=True):
        found[example] += row.tolist()
    assert found == answers
