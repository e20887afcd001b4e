"""Each loss against a few lines of its own."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from echox.losses import cross_entropy, ctc, denoising, dynamic_weight
from echox.models.ragged import Ragged
from echox.models.scores import IGNORE, CtcScores, Predictions

BLANK = 4


def ctc_by_hand(logits_FV: np.ndarray, tokens: list[int]) -> float:
    """-log of the sum over all paths, forward algorithm in probabilities (Graves et al., 2006, eq. 6 to 8)."""
    probabilities_FV = np.exp(logits_FV - np.logaddexp.reduce(logits_FV, axis=1, keepdims=True))
    labels = [BLANK, *(label for token in tokens for label in (token, BLANK))]
    alpha = np.zeros(len(labels))
    alpha[:2] = probabilities_FV[0, labels[:2]]
    for row_V in probabilities_FV[1:]:
        before = alpha.copy()
        for s, label in enumerate(labels):
            skip = before[s - 2] if s > 1 and label not in (BLANK, labels[s - 2]) else 0.0
            alpha[s] = (before[s] + (before[s - 1] if s else 0.0) + skip) * row_V[label]
    return -math.log(alpha[-2:].sum())


def logits_of(frames: list[int]) -> Ragged:
    torch.manual_seed(1)
    return Ragged(torch.randn(len(frames), max(frames), 7, requires_grad=True) * 2, torch.tensor(frames))


def scores(logits: Ragged, transcripts: list[list[int]]) -> CtcScores:
    """Blank, columns of the transcripts, and sums of all columns."""
    transcript = Ragged.of(transcripts)
    columns_BC = functional.pad(transcript.values_BL, (1, 0), value=BLANK)
    index_BFC = columns_BC[:, None].expand(-1, logits.values_BL.size(1), -1)
    columns = Ragged(logits.values_BL.take_along_dim(index_BFC, 2), logits.lengths_B)
    return CtcScores(columns, logits.values_BL.logsumexp(-1), transcript)


def test_cross_entropy_is_the_sum_of_log_probabilities() -> None:
    torch.manual_seed(0)
    logits_NV, targets_N = torch.randn(5, 9), torch.tensor([3, IGNORE, 0, 8, 3])
    table = logits_NV.numpy().astype(np.float64)
    expected = sum(
        np.logaddexp.reduce(row) - row[target]
        for row, target in zip(table, targets_N.tolist(), strict=True)
        if target >= 0
    )
    predictions = Predictions(logits_NV, targets_N, torch.tensor([2, 3]))
    assert float(cross_entropy(predictions)) == pytest.approx(expected, rel=1e-6)
    assert predictions.count == 4


def test_cross_entropy_of_nothing_is_zero_and_has_a_gradient() -> None:
    logits_NV = torch.zeros(0, 9, requires_grad=True)
    loss = cross_entropy(Predictions(logits_NV, torch.zeros(0, dtype=torch.int64), torch.tensor([0])))
    loss.backward()
    assert loss.item() == 0.0


def test_ctc_is_the_sum_over_all_paths() -> None:
    transcripts = [[1, 2, 2, 0], [6], [1, 1]]
    logits = logits_of([9, 4, 5])
    expected = [
        ctc_by_hand(row_FV.detach().double().numpy(), tokens)
        for row_FV, tokens in zip(logits.rows(), transcripts, strict=True)
    ]
    assert ctc(scores(logits, transcripts)).tolist() == pytest.approx(expected, rel=1e-5)


def test_ctc_gradients_are_those_of_the_sum_over_all_paths() -> None:
    logits = logits_of([5])
    (found_1FV,) = torch.autograd.grad(ctc(scores(logits, [[1, 2, 2]])).sum(), logits.values_BL)
    logits_FV = logits.values_BL[0].detach().double().numpy()
    for frame, token in [(0, 1), (2, BLANK), (4, 2), (3, 0)]:
        nudge_FV = np.zeros_like(logits_FV)
        nudge_FV[frame, token] = 1e-4
        up, down = (ctc_by_hand(logits_FV + sign * nudge_FV, [1, 2, 2]) for sign in (1, -1))
        assert float(found_1FV[0, frame, token]) == pytest.approx((up - down) / 2e-4, abs=1e-4)


def test_ctc_leaves_out_what_is_unknown_or_impossible() -> None:
    batch = scores(logits_of([6, 3, 6]), [[], [1, 1, 2], [2]])
    losses_B = ctc(batch)
    losses_B.sum().backward()
    assert losses_B[0] == 0.0
    assert losses_B[1] == 0.0, "three frames cannot spell a repetition and one more"
    assert losses_B[2] > 0.0


def test_ctc_without_any_transcript_has_a_gradient() -> None:
    batch = scores(logits_of([6, 3]), [[], []])
    loss = ctc(batch).sum()
    loss.backward()
    assert loss.item() == 0.0


def test_denoising_is_the_sum_of_one_minus_cosine() -> None:
    torch.manual_seed(0)
    lengths_B = torch.tensor([3, 1])
    states_BTH, text_BTH = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    pairs = [(states_BTH[b, t].numpy(), text_BTH[b, t].numpy()) for b, n in enumerate([3, 1]) for t in range(n)]
    expected = sum(1 - a @ b / math.sqrt((a @ a) * (b @ b)) for a, b in pairs)
    found = denoising(Ragged(states_BTH, lengths_B), Ragged(text_BTH, lengths_B))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("unit", "cosine", "expected"),
    [(5.0, 0.5, 1.0), (5.0, 1.0, 1.0), (5.0, 4.0, 0.25), (2.0, 8.0, 0.05)],
)
def test_dynamic_weight_keeps_denoising_at_a_fifth(unit: float, cosine: float, expected: float) -> None:
    weight = dynamic_weight(torch.tensor(unit, requires_grad=True), torch.tensor(cosine, requires_grad=True))
    assert float(weight) == pytest.approx(expected)
    assert not weight.requires_grad
