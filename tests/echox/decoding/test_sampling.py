"""Draws by temperature and top-p: the right tokens, as often as they are likely, and the same ones in any batch."""

import pytest
import torch

from echox.decoding.sampling import DecodingConfig, Draws, drawn

CPU = torch.device("cpu")
LOGITS_V = torch.tensor([2.0, 0.5, 1.5, -1.0, -30.0])


def test_tokens_come_as_often_as_they_are_likely() -> None:
    config = DecodingConfig(temperature=0.7, top_p=1.0)
    uniform = Draws.of(config, ["a"], 20_000, CPU).uniform_BR[0]
    tokens = drawn(LOGITS_V.expand(len(uniform), -1), config, uniform)
    shares = torch.bincount(tokens, minlength=5) / len(tokens)
    torch.testing.assert_close(shares.double(), (LOGITS_V.double() / 0.7).softmax(-1), atol=0.012, rtol=0)


def test_top_p_keeps_tokens_until_likelier_ones_have_that_probability() -> None:
    uniform = torch.linspace(0, 1, 1_001, dtype=torch.float64)[:-1]
    probabilities = LOGITS_V.softmax(-1)  # 0.53, 0.12, 0.32, 0.03 and nothing
    for top_p, kept in ((0.2, {0}), (0.5, {0}), (0.55, {0, 2}), (0.9, {0, 2, 1}), (0.98, {0, 1, 2, 3})):
        tokens = drawn(LOGITS_V.expand(len(uniform), -1), DecodingConfig(temperature=1.0, top_p=top_p), uniform)
        assert {*tokens.tolist()} == kept
        likeliest = probabilities[0] / probabilities[[*kept]].sum()
        assert (tokens == 0).float().mean().item() == pytest.approx(likeliest.item(), abs=2e-3)


def test_banned_tokens_are_never_drawn_and_the_coldest_draw_is_the_best() -> None:
    uniform = torch.linspace(0, 1, 101, dtype=torch.float64)[:-1]
    scores = LOGITS_V.clone()
    scores[[0, 2]] = -torch.inf
    assert {*drawn(scores.expand(100, -1), DecodingConfig(temperature=5.0, top_p=1.0), uniform).tolist()} <= {1, 3, 4}
    assert {*drawn(LOGITS_V.expand(100, -1), DecodingConfig(temperature=1e-3), uniform).tolist()} == {0}


def test_draws_depend_on_seed_and_id_alone() -> None:
    config = DecodingConfig()
    together = Draws.of(config, ["a", "b", "c"], 8, CPU).uniform_BR
    for number, name in enumerate("abc"):
        assert Draws.of(config, [name], 8, CPU).uniform_BR[0].equal(together[number])
        assert Draws.of(config, [name], 3, CPU).uniform_BR[0].equal(together[number, :3])
    assert len({*together.flatten().tolist()}) == together.numel()
    assert not Draws.of(DecodingConfig(seed=2), ["a"], 8, CPU).uniform_BR[0].equal(together[0])
