import pytest
import torch

from echox.metrics import cosine, edits, exact_matches, sequence_accuracy, token_accuracy, unit_errors, word_errors
from echox.models.ragged import Ragged
from echox.models.scores import Predictions
from tests.echox.corpora import unit_language

LOGITS = torch.eye(4)[[1, 2, 3, 0, 1]]
PREDICTIONS = Predictions(LOGITS, torch.tensor([1, 2, 3, 1, 1]), torch.tensor([3, 2]))


def test_tokens_and_whole_examples_that_are_right() -> None:
    assert token_accuracy(PREDICTIONS) == (4, 5)
    assert sequence_accuracy(PREDICTIONS) == (1, 2)


def test_word_errors_are_edits_by_reference_words() -> None:
    assert word_errors(["the cat sat", "a b"], ["The cat, sat!", "b c d"]) == (3, 6)
    assert exact_matches(["the cat sat", "a b", ""], ["The cat, sat!", "b c d", ""]) == (2, 3)
    assert edits([[1, 2, 3, 4]], [[]]) == (4, 0)


def test_unit_errors_do_not_depend_on_the_segmentation() -> None:
    language = unit_language()
    long_word = int(language.word_lengths.argmax())
    letters = [int(language.parse([str(unit)])[0]) for unit in language.decode([long_word])]
    assert len(letters) > 1
    assert unit_errors(language, Ragged.of([[long_word], []]), Ragged.of([letters, []])) == (0, len(letters))
    changed = [letters[0], *letters]
    assert unit_errors(language, Ragged.of([changed]), Ragged.of([letters])) == (1, len(letters))


def test_cosine_leaves_padding_out() -> None:
    states = torch.tensor([[[1.0, 0], [0, 2], [9, 9]], [[3, 3], [9, 9], [9, 9]]])
    text = torch.tensor([[[2.0, 0], [1, 0], [-9, -9]], [[1, 1], [-9, 9], [9, -9]]])
    lengths = torch.tensor([2, 1])
    part, whole = cosine(Ragged(states, lengths), Ragged(text, lengths))
    assert (part, whole) == (pytest.approx(2.0), 3)
