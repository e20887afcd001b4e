"""Stacking, shrinking and looking back, on cases made by hand."""

from dataclasses import replace

import pytest
import torch

from echox.models.adapter import Adapter, AdapterConfig, LookBack, changes, shrink, stack
from echox.models.ragged import Ragged

CONFIG = AdapterConfig(heads=2)


def test_neighbours_are_stacked_and_an_odd_end_is_filled_with_zeros() -> None:
    states = Ragged(torch.arange(1.0, 11.0).view(2, 5, 1), torch.tensor([5, 2]))
    stacked = stack(states, 2)
    assert stacked.values_BL[0].tolist() == [[1, 2], [3, 4], [5, 0]]
    assert stacked.values_BL[1].tolist() == [[6, 7], [0, 0], [0, 0]], "padding is silent"
    assert stacked.lengths_B.tolist() == [3, 1]


def test_the_first_frame_of_each_run_is_kept_blanks_too() -> None:
    blank = 0
    tokens_BF = torch.tensor([[blank, blank, 5, 5, blank, 5, 7, blank]])
    frames = Ragged(torch.arange(8.0)[None, :, None], torch.tensor([8]))
    kept = shrink(frames, changes(tokens_BF))
    assert kept.values_BL[0, :, 0].tolist() == [0, 2, 4, 5, 6, 7]


def test_shrinking_keeps_order_and_looks_at_no_padding() -> None:
    tokens_BF = torch.tensor([[1, 2, 2, 3], [1, 1, 8, 9]])
    frames = Ragged(torch.arange(8.0).view(2, 4, 1), torch.tensor([4, 2]))
    kept = shrink(frames, changes(tokens_BF) & frames.mask)
    assert [row[:, 0].tolist() for row in kept.rows()] == [[0, 1, 3], [4]]


@pytest.mark.parametrize("seen", [(0, 1, 2, 3), (0, 3)])
def test_looking_back_is_attention_to_the_keys_alone(seen: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = LookBack(8, 2, 0.0).eval()
    frames_FH, kept_KH = torch.randn(4, 8), torch.randn(2, 8)
    keys_BF = torch.tensor([[index in seen for index in range(4)]])
    two = torch.tensor([2])
    found = module(Ragged(kept_KH[None], two), Ragged(frames_FH[None], torch.tensor([4])), keys_BF).values_BL[0]
    attention = module.attention
    query_KH, key_SH, value_SH = (
        x @ weight.T + bias
        for x, weight, bias in zip(
            (kept_KH, frames_FH[list(seen)], frames_FH[list(seen)]),
            attention.in_proj_weight.chunk(3),
            attention.in_proj_bias.chunk(3),
            strict=True,
        )
    )
    heads = [
        (query_KH[:, part] @ key_SH[:, part].T / 2.0).softmax(-1) @ value_SH[:, part]
        for part in (slice(0, 4), slice(4, 8))
    ]
    expected = module.norm(kept_KH + attention.out_proj(torch.cat(heads, 1)))
    torch.testing.assert_close(found, expected)


def test_only_all_keys_let_dropped_frames_be_heard() -> None:
    """Two neighbours of one run: changing the dropped one changes what is heard only where all frames are keys."""
    torch.manual_seed(0)
    states_1TE = torch.randn(1, 2, 4)
    for keys, differs in (("all", True), ("kept", False)):
        module = Adapter(replace(CONFIG, stack=1, look_back_keys=keys, context="itself"), 4, 8, 5).eval()
        torch.nn.init.zeros_(module.ctc_head.weight)  # all frames are one run
        other_1TE = states_1TE.clone()
        other_1TE[0, 1] += 1.0
        heard, other = (module(Ragged(x, torch.tensor([2]))) for x in (states_1TE, other_1TE))
        assert heard.lengths_B.tolist() == [1]
        assert torch.allclose(heard.values_BL, other.values_BL) != differs


def test_a_frame_by_itself_is_not_mixed_with_its_neighbours() -> None:
    torch.manual_seed(0)
    states_1TE = torch.randn(1, 6, 4)
    other_1TE = states_1TE.clone()
    other_1TE[0, 4:] += 1.0
    for context, alike in (("itself", True), ("all", False)):
        module = Adapter(replace(CONFIG, context=context), 4, 8, 5).eval()
        first, second = (module.frames(Ragged(x, torch.tensor([6]))).values_BL for x in (states_1TE, other_1TE))
        assert torch.allclose(first[0, :2], second[0, :2], atol=1e-6) == alike


@pytest.mark.parametrize("context", ["all", "itself"])
@pytest.mark.parametrize("keys", ["all", "kept"])
def test_an_example_is_heard_alike_alone_and_in_a_batch(context: str, keys: str) -> None:
    torch.manual_seed(0)
    module = Adapter(replace(CONFIG, context=context, look_back_keys=keys), 4, 8, 5).eval()
    batch = Ragged(torch.randn(2, 9, 4), torch.tensor([9, 4]))
    transcript = Ragged.of([[1, 2, 3], [3]])
    together, scores = module.with_ctc(batch, transcript, 4)
    alone = module(Ragged(batch.values_BL[1:, :4], torch.tensor([4])))
    torch.testing.assert_close(together.rows()[1], alone.rows()[0])
    logits_BFV = module.ctc_head(module.frames(batch).values_BL)
    torch.testing.assert_close(scores.columns.values_BL[0], logits_BFV[0, :, [4, 1, 2, 3]])
    torch.testing.assert_close(scores.columns.values_BL[1, :, :2], logits_BFV[1, :, [4, 3]])
    torch.testing.assert_close(scores.sums_BF, logits_BFV.logsumexp(-1))
