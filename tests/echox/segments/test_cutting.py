import random
from itertools import pairwise

import pytest
import torch

from echox.models.echo import Segments
from echox.models.ragged import Ragged
from echox.segments.cutting import SentencesConfig, cut_at_sentences, cut_by_trigger
from echox.segments.sentences import Sentences
from echox.segments.trigger import TriggerConfig, cuts
from echox.text.sentencepiece import SentencePieceTokenizer

TOKENIZER = SentencePieceTokenizer.learn(["a b c d e."] * 3, 300)
SENTENCES, END = Sentences(TOKENIZER), 5


def pieces(segments: Segments) -> list[tuple[int, int, int]]:
    return list(zip(segments.example_S.tolist(), segments.start_S.tolist(), segments.lengths_S.tolist(), strict=True))


def responses(*answers: str) -> Ragged:
    return Ragged.of([[*TOKENIZER.encode(answer), END] for answer in answers])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("a b", [(0, 2)]),
        ("a. b c. d", [(0, 5), (5, 1)]),  # the first stop comes too early
        ("a b c d e a b c", [(0, 6), (6, 2)]),  # no stop at all
        ("a b c.", [(0, 4)]),
        ("a b c.d", [(0, 5)]),  # no blank behind the stop
        ("", []),
    ],
)
def test_answers_are_cut_at_sentences(answer: str, expected: list[tuple[int, int]]) -> None:
    found = pieces(cut_at_sentences(responses(answer), SENTENCES, SentencesConfig(shortest=3, longest=6)))
    assert found == [(0, *piece) for piece in expected]


def test_the_trigger_cuts_by_the_cosine_with_the_head() -> None:
    torch.manual_seed(0)
    draw = random.Random(0)
    lengths = torch.tensor([90, 0, 200, 12])
    scores = [[draw.uniform(-0.5, 0.5) for _ in range(length)] for length in lengths.tolist()]
    row_H = torch.tensor([0.0, 2.0, 0.0])
    states_BRH = torch.full((4, 201, 3), 9.0)  # the padding, and the state of the end of the turn
    for example, values in enumerate(scores):
        for token, score in enumerate(values):  # states of any size whose cosine with the row is the score
            states_BRH[example, token] = draw.uniform(0.1, 5) * torch.tensor([(1 - score**2) ** 0.5, score, 0.0])
    config = TriggerConfig(longest=100)
    answers = responses(*[("a " * length).strip() for length in lengths.tolist()])
    found = pieces(cut_by_trigger(answers, Ragged(states_BRH, lengths + 1), row_H, config))
    expected: list[tuple[int, int, int]] = []
    for example, values in enumerate(scores):
        bounds = [0, *(last + 1 for last in cuts(values, config)), len(values)]
        expected += [(example, start, end - start) for start, end in pairwise(bounds) if values]
    assert found == expected
    assert len(found) > 6


def test_segments_of_a_batch_together_are_its_answers() -> None:
    answers = ["a. " * 6 + "a.", "e", "b " * 19 + "b"]
    rows = responses(*answers)
    segments = cut_at_sentences(rows, SENTENCES, SentencesConfig(shortest=3, longest=6))
    found: list[list[int]] = [[], [], []]
    for example, row in zip(segments.example_S.tolist(), segments.of(rows).rows(), strict=True):
        found[example] += row.tolist()
    assert found == [TOKENIZER.encode(answer) for answer in answers]
    assert pieces(segments)[:2] == [(0, 0, 4), (0, 4, 4)]
