"""T2C: what it reads, what it is asked, what it learns."""

from dataclasses import replace

import pytest
import torch

from echox.losses import cross_entropy
from echox.models.decoder import DecoderConfig
from echox.models.language_model import LanguageModel
from echox.models.ragged import Ragged
from echox.models.t2c import T2C, Size, t2c_layers
from tests.echox.models.shapes import ARCHITECTURE, TEXT, WORDS, one

CONFIG = ARCHITECTURE.t2c
TEXTS = Ragged.of([[20, 21, 22], [], [23]])
WORD_IDS = Ragged.of([[1, 2], [0, 29, 5, 5], []])
BEGIN, END = TEXT + WORDS, TEXT + WORDS + 1


@pytest.fixture
def model() -> T2C:
    torch.manual_seed(0)
    return T2C(CONFIG, torch.randn(TEXT, 32)).eval()


def test_a_sequence_is_frame_text_frame_begin_words_end(model: T2C) -> None:
    """The loss, from a sequence put together by hand in the joint vocabulary."""
    joint_JH = torch.cat([model.text_embedding.weight, model.words.word_embedding.weight])
    sequence = [4, 5, 20, 21, 22, 6, BEGIN, TEXT + 1, TEXT + 2, END]
    with torch.no_grad():
        states_1LD = model.words.states(joint_JH[None, sequence[:-1]])
        log_probs_LJ = model.words.logits(states_1LD)[0].log_softmax(-1)
        expected = -sum(float(log_probs_LJ[at - 1, sequence[at]]) for at in (7, 8, 9))
        predictions = model(one(TEXTS, 0), one(WORD_IDS, 0))
    assert predictions.targets_N.tolist() == [TEXT + 1, TEXT + 2, END]
    assert float(cross_entropy(predictions)) == pytest.approx(expected, rel=1e-5)


def test_a_token_of_text_can_end_the_words(model: T2C) -> None:
    config = replace(CONFIG, end=2)
    other = T2C(config, model.text_embedding.weight)
    assert other.words.head.weight.shape[0] == TEXT + WORDS
    assert other(one(TEXTS, 0), one(WORD_IDS, 0)).targets_N.tolist() == [TEXT + 1, TEXT + 2, 2]


def test_padding_changes_no_loss(model: T2C) -> None:
    together = cross_entropy(model(TEXTS, WORD_IDS)).item()
    alone = sum(cross_entropy(model(one(TEXTS, index), one(WORD_IDS, index))).item() for index in range(3))
    assert together == pytest.approx(alone, abs=1e-5)


def test_it_reads_the_language_models_own_embeddings_and_never_changes_them() -> None:
    torch.manual_seed(0)
    llm = LanguageModel(ARCHITECTURE.llm)
    model = T2C(CONFIG, llm.table)
    before = llm.table.clone()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    cross_entropy(model(TEXTS, WORD_IDS)).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == ["text_embedding.weight"]
    optimizer.step()
    assert torch.equal(model.text_embedding(torch.arange(TEXT)), before)
    assert not torch.equal(model.words.word_embedding.weight[1], T2C(CONFIG, llm.table).words.word_embedding.weight[1])


@pytest.mark.parametrize(
    ("size", "layers", "hidden_size", "heads", "groups", "inner"),
    [
        ("small", 4, 512, 8, 8, 2048),
        ("medium", 8, 768, 12, 12, 2048),
        ("base", 6, 512, 8, 8, 2048),
        ("large", 2, 3072, 24, 8, 8192),
    ],
)
def test_sizes(size: Size, layers: int, hidden_size: int, heads: int, groups: int, inner: int) -> None:
    llm = DecoderConfig(
        layers=28, hidden_size=3072, heads=24, key_value_heads=8, intermediate_size=8192, max_length=4096
    )
    found = t2c_layers(size, llm)
    assert found == DecoderConfig(
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        key_value_heads=groups,
        intermediate_size=inner,
        max_length=2048,
    )
