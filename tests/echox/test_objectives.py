"""How the stages weigh their losses, against a few lines of their own."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from echox.errors import EchoxError
from echox.models.echo import Echo, EchoOutput, Segments
from echox.models.ragged import Ragged
from echox.models.s2t import S2T, S2TOutput
from echox.models.scores import Predictions
from echox.objectives import EchoLossConfig, S2TLossConfig, echo_objective, s2t_objective, t2c_objective
from tests.echox.models.shapes import ARCHITECTURE, PLACEHOLDER, inputs

WORD_IDS = Ragged.of([[1, 2, 3], [4], [5, 6, 7, 8]])


@pytest.fixture(scope="module")
def output() -> EchoOutput:
    torch.manual_seed(0)
    batch = inputs()
    model = Echo(ARCHITECTURE, PLACEHOLDER).eval()
    return model(batch, Segments.whole(batch.response.lengths_B), WORD_IDS, with_response=True)


@pytest.fixture(scope="module")
def model() -> S2T:
    torch.manual_seed(0)
    return S2T(ARCHITECTURE, PLACEHOLDER).eval()


@pytest.fixture(scope="module")
def heard(model: S2T) -> S2TOutput:
    torch.manual_seed(0)
    return model(inputs())


def answer_loss(response: Predictions | None) -> float:
    assert response is not None
    log_probs_NV = response.logits_NV.detach().log_softmax(-1)
    return -sum(row[target].item() for row, target in zip(log_probs_NV, response.targets_N, strict=True))


def test_s2t_is_the_mean_of_the_answers_tokens_and_three_tenths_of_ctcs_mean(model: S2T, heard: S2TOutput) -> None:
    """Transcripts of 3, no and 2 tokens; torch's mean divides the nats of each by its length, and is over examples."""
    torch.manual_seed(0)
    batch = inputs()
    frames = model.adapter.frames(model.encoder(batch.speech))
    log_probs_BFV = model.adapter.ctc_head(frames.values_BL).detach().log_softmax(-1)
    spoken = batch.transcript.lengths_B > 0
    assert spoken.tolist() == [True, False, True]
    ctc = functional.ctc_loss(
        log_probs_BFV[spoken].transpose(0, 1),
        batch.transcript.values_BL[spoken],
        frames.lengths_B[spoken],
        batch.transcript.lengths_B[spoken],
        blank=PLACEHOLDER,
    ).item()
    found, answer = s2t_objective(heard, S2TLossConfig()), answer_loss(heard.response) / 12
    assert found.count == 12
    assert found.total.item() / 12 == pytest.approx(answer + 0.3 * ctc, rel=1e-5)
    assert found.parts["response"].item() == pytest.approx(answer, rel=1e-5)
    assert found.parts["ctc"].item() == pytest.approx(ctc, rel=1e-5)


def test_t2c_is_the_mean_over_words_and_ends(output: EchoOutput) -> None:
    found = t2c_objective(output.words)
    mean = functional.cross_entropy(output.words.logits_NV, output.words.targets_N)
    assert found.count == 8 + 3
    assert found.total.item() / found.count == pytest.approx(mean.item(), rel=1e-5)


def distances(output: EchoOutput) -> list[float]:
    """1 - cos of each token, over all segments."""
    pairs = zip(output.denoised.flat().detach(), output.text.flat(), strict=True)
    return [1 - (a @ b).item() / math.sqrt((a @ a).item() * (b @ b).item()) for a, b in pairs]


def test_echo_is_words_and_denoising_and_the_answer(output: EchoOutput) -> None:
    words = functional.cross_entropy(output.words.logits_NV, output.words.targets_N, reduction="sum").item()
    assert len(distances(output)) == 3 + 1 + 5
    found = echo_objective(output, EchoLossConfig(denoising_weight=0.7, s2t_weight=0.5))
    tokens, answer = sum(distances(output)) / 9, answer_loss(output.response) / 12
    assert found.count == 11
    assert found.total.item() / found.count == pytest.approx(words / 11 + 0.7 * tokens + 0.5 * answer, rel=1e-5)
    without = echo_objective(output, EchoLossConfig(denoising_weight=0.0, s2t_weight=0.0))
    assert without.total.item() == pytest.approx(words, rel=1e-6)


def test_the_weight_of_denoising_does_not_depend_on_the_number_of_words(output: EchoOutput) -> None:
    """The same states with three times as many words, of the same loss each."""
    often = replace(
        output,
        words=Predictions(
            output.words.logits_NV.repeat(3, 1), output.words.targets_N.repeat(3), output.words.lengths_B.repeat(3)
        ),
    )
    config = EchoLossConfig(denoising_weight=0.7, s2t_weight=0.5)
    once, thrice = echo_objective(output, config), echo_objective(often, config)
    assert thrice.count == 3 * once.count
    assert thrice.total.item() / thrice.count == pytest.approx(once.total.item() / once.count, rel=1e-5)


def test_dynamic_denoising_is_a_fifth_of_the_mean_over_words(output: EchoOutput) -> None:
    """As in the released code: the mean over words, and the sum over tokens averaged over segments."""
    mean = functional.cross_entropy(output.words.logits_NV, output.words.targets_N).item()
    cosine = sum(distances(output)) / 3
    assert cosine > 0.2 * mean, "else the weight is 1 and the test shows nothing"
    found = echo_objective(output, EchoLossConfig(denoising="dynamic", s2t_weight=0))
    assert found.total.item() / found.count == pytest.approx(mean + 0.2 * mean, rel=1e-5)


def test_the_answers_loss_needs_the_answers_scores(output: EchoOutput) -> None:
    with pytest.raises(EchoxError, match="without `with_response`"):
        echo_objective(replace(output, response=None), EchoLossConfig(s2t_weight=1.0))
