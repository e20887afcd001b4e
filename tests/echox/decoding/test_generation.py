"""Decoding with a cache, in batches: the same as without, one by one."""

from collections.abc import Iterable

import pytest
import torch

from echox.decoding.generation import answer, write, write_text, write_words
from echox.decoding.sampling import DecodingConfig, Draws
from echox.errors import EchoxError
from echox.models.cached import CachedDecoder
from echox.models.echo import Echo
from echox.models.language_model import LanguageModel
from echox.models.ragged import Ragged
from echox.models.t2c import WordDecoder
from tests.echox.models.shapes import ARCHITECTURE, END, PLACEHOLDER, TEXT, WORDS, inputs, one

LENGTHS = (11, 4, 7, 1, 11)


@pytest.fixture(scope="module")
def model() -> Echo:
    torch.manual_seed(3)
    model = Echo(ARCHITECTURE, PLACEHOLDER)
    with torch.no_grad():  # decided enough to write more than one word and to end
        for parameter in (model.t2c.head.weight, model.words.head.weight, *model.s2t.llm.model.final_proj.parameters()):
            parameter.mul_(5.0)
    return model


def prefix() -> Ragged:
    torch.manual_seed(5)
    return Ragged(torch.randn(len(LENGTHS), max(LENGTHS), 32) * 0.5, torch.tensor(LENGTHS))


def without_cache(
    writer: LanguageModel | WordDecoder, prefix_PH: torch.Tensor, end: int, limit: int, allowed: Iterable[int]
) -> list[int]:
    """The whole sequence again for each token."""
    sequence_LH, written = prefix_PH, list[int]()
    allowed_N = torch.tensor(list(allowed))
    while len(written) < limit:
        with torch.no_grad():
            logits_V = writer.logits(writer.states(sequence_LH[None]))[0, -1]
        token = int(allowed_N[logits_V[allowed_N].argmax()])
        if token == end:
            break
        written.append(token)
        sequence_LH = torch.cat([sequence_LH, writer.embed(torch.tensor([token]))])
    return written


def test_text_with_a_cache_equals_text_without(model: Echo) -> None:
    model.eval()
    llm, batch = model.s2t.llm, prefix()
    ends = {
        write_text(llm, one(batch, index), end=-1, max_new_tokens=4).tokens.values_BL[0, 3].item() for index in range(3)
    }
    for end in (*ends, -1):
        written = write_text(llm, batch, end=int(end), max_new_tokens=9)
        expected = [without_cache(llm, row, int(end), 9, range(TEXT)) for row in batch.rows()]
        assert [row.tolist() for row in written.tokens.rows()] == expected
        assert written.ended_B.tolist() == [len(row) < 9 for row in expected]
        assert len({len(row) for row in expected}) > 1 or end == -1


def test_words_with_a_cache_equal_words_without(model: Echo) -> None:
    model.eval()
    allowed = {*range(TEXT, TEXT + WORDS), model.words.config.end_id}
    for decoder in (model.t2c, model.words):
        written = write_words(decoder, prefix(), max_new_tokens=12)
        expected = [without_cache(decoder, row, decoder.config.end_id, 12, allowed) for row in prefix().rows()]
        assert [[TEXT + word for word in row.tolist()] for row in written.rows()] == expected
        assert len({token for row in expected for token in row}) > 3, "a test of one repeated word would show little"


def test_a_batch_writes_what_each_writes_alone(model: Echo) -> None:
    model.eval()
    together = write_text(model.s2t.llm, prefix(), end=END, max_new_tokens=9)
    for index in range(len(LENGTHS)):
        alone = write_text(model.s2t.llm, one(prefix(), index), end=END, max_new_tokens=9)
        assert together.tokens.rows()[index].tolist() == alone.tokens.rows()[0].tolist()
        torch.testing.assert_close(together.states.rows()[index], alone.states.rows()[0], atol=1e-5, rtol=1e-4)


def test_answers_come_without_dropout_and_leave_training_as_it_was(model: Echo) -> None:
    batch = inputs()
    model.eval()
    expected = answer(model.s2t, batch.speech, batch.prompt, end=END, max_new_tokens=6)
    model.freeze(train_s2t=True)
    model.train()
    modes = {name: module.training for name, module in model.named_modules()}
    found = answer(model.s2t, batch.speech, batch.prompt, end=END, max_new_tokens=6)
    assert [row.tolist() for row in found.tokens.rows()] == [row.tolist() for row in expected.tokens.rows()]
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert not found.states.values_BL.requires_grad


def test_pseudo_labels_come_from_the_models_own_text(model: Echo) -> None:
    """The whole way of Echo training: speech, own text, T2C's words, and Echo's from the states of that text."""
    model.eval()
    batch = inputs()
    own = answer(model.s2t, batch.speech, batch.prompt, end=END, max_new_tokens=6)
    labels = write_words(model.t2c, model.text_prefix(own.tokens), max_new_tokens=8)
    spoken = write_words(model.words, model.wrap(model.denoise(own.states)), max_new_tokens=8)
    for words in (labels, spoken):
        assert len(words.lengths_B) == 3
        assert bool((words.flat() >= 0).all())
        assert bool((words.flat() < WORDS).all())
    alone = write_words(model.t2c, model.text_prefix(one(own.tokens, 1)), max_new_tokens=8)
    assert labels.rows()[1].tolist() == alone.rows()[0].tolist()


def test_the_longest_sequence_limits_what_is_written(model: Echo) -> None:
    long = Ragged(torch.randn(1, 253, 32), torch.tensor([253]))
    assert write_text(model.s2t.llm, long, end=-1, max_new_tokens=50).tokens.lengths_B.tolist() == [3]
    with pytest.raises(EchoxError, match="max_length 256"):
        write_text(model.s2t.llm, Ragged(torch.randn(1, 256, 32), torch.tensor([256])), end=-1, max_new_tokens=50)


def test_nothing_is_written_beyond_the_limit(model: Echo) -> None:
    model.eval()
    with torch.no_grad():
        written = write(model.s2t.llm, prefix(), end=-1, max_new_tokens=1)
    assert written.tokens.lengths_B.tolist() == [1] * len(LENGTHS)


class Counting:
    """A language model that notes how many sequences it scores."""

    def __init__(self, llm: LanguageModel) -> None:
        self.llm, self.sizes = llm, list[int]()

    @property
    def max_length(self) -> int:
        return self.llm.max_length

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.llm.embed(ids)

    def cached(self) -> CachedDecoder:
        return self.llm.cached()

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(states))
        return self.llm.logits(states)


def test_sequences_that_have_ended_are_not_computed_any_more(model: Echo) -> None:
    """The longest sequence has 256 positions, which leaves three of the prefixes 6 tokens; the last one writes 20."""
    model.eval()
    counting = Counting(model.s2t.llm)
    batch = Ragged(torch.randn(4, 250, 32), torch.tensor([250, 250, 250, 3]))
    with torch.no_grad():
        written = write(counting, batch, end=-1, max_new_tokens=20)
        alone = write(counting.llm, one(batch, 3), end=-1, max_new_tokens=20)
    assert counting.sizes == [4] * 6 + [1] * 14
    assert written.tokens.lengths_B.tolist() == [6, 6, 6, 20]
    assert written.tokens.rows()[3].tolist() == alone.tokens.rows()[0].tolist()
    torch.testing.assert_close(written.states.rows()[3], alone.states.rows()[0], atol=1e-5, rtol=1e-4)
    assert not written.ended_B.any()


def test_drawn_answers_do_not_depend_on_the_batch(model: Echo) -> None:
    model.eval()
    config, names, llm = DecodingConfig(temperature=0.8), list("abcde"), model.s2t.llm

    def draws(*chosen: str) -> Draws:
        return Draws.of(config, chosen, 9, torch.device("cpu"))

    together = write_text(llm, prefix(), end=END, max_new_tokens=9, draws=draws(*names))
    for index, name in enumerate(names):
        alone = write_text(llm, one(prefix(), index), end=END, max_new_tokens=9, draws=draws(name))
        assert together.tokens.rows()[index].tolist() == alone.tokens.rows()[0].tolist()
    best = write_text(llm, prefix(), end=END, max_new_tokens=9).tokens
    assert [row.tolist() for row in best.rows()] != [row.tolist() for row in together.tokens.rows()]
