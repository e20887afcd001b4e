"""The state of a token is the one that predicts it, in training and in inference."""

import torch

from echox.decoding.generation import answer
from echox.models.alignment import predicting_states
from echox.models.echo import Segments
from echox.models.ragged import Ragged
from echox.models.s2t import S2T, S2TInputs
from tests.echox.models.shapes import ARCHITECTURE, END, PLACEHOLDER, inputs


def test_the_state_before_a_token_is_its_own() -> None:
    states_BLD = torch.arange(12.0).view(2, 6, 1)
    found = predicting_states(states_BLD, torch.tensor([2, 4]), torch.tensor([3, 1]))
    assert [row[:, 0].tolist() for row in found.rows()] == [[1, 2, 3], [9]]


def test_the_head_on_a_tokens_state_gives_the_logits_that_predict_it() -> None:
    torch.manual_seed(0)
    model, batch = S2T(ARCHITECTURE, PLACEHOLDER).eval(), inputs()
    output = model(batch)
    torch.testing.assert_close(model.llm.logits(output.states.flat()), output.response.logits_NV)
    prefix = model.prefix(batch.speech, batch.prompt).rows()[1]
    tokens = batch.response.rows()[1]
    alone_LH = torch.cat([prefix, model.llm.embed(tokens)])
    logits_LV = model.llm.logits(model.llm.states(alone_LH[None]))[0]
    for index in range(len(tokens)):
        expected = logits_LV[len(prefix) + index - 1]
        torch.testing.assert_close(model.llm.logits(output.states.rows()[1][index]), expected, atol=1e-5, rtol=1e-4)


def test_training_sees_the_states_that_inference_had() -> None:
    torch.manual_seed(0)
    model, batch = S2T(ARCHITECTURE, PLACEHOLDER).eval(), inputs()
    written = answer(model, batch.speech, batch.prompt, end=END, max_new_tokens=7)
    again = S2TInputs(batch.speech, batch.prompt, written.tokens.append(END), batch.transcript)
    with torch.no_grad():
        states = Segments.whole(again.response.lengths_B).of(model(again).states)
    assert states.lengths_B.tolist() == written.states.lengths_B.tolist()
    torch.testing.assert_close(states.flat(), written.states.flat(), atol=1e-5, rtol=1e-4)


def test_segments_are_cut_from_states_as_from_tokens() -> None:
    tokens = Ragged.of([[1, 2, 3, 4, 9], [5, 6, 9]])
    states = Ragged(tokens.values_BL[:, :, None].float(), tokens.lengths_B)
    segments = Segments(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 0]), torch.tensor([2, 2, 2]))
    assert [row.tolist() for row in segments.of(tokens).rows()] == [[1, 2], [3, 4], [5, 6]]
    assert segments.of(states).values_BL[:, :, 0].tolist() == [[1, 2], [3, 4], [5, 6]]
    whole = Segments.whole(tokens.lengths_B).of(tokens)
    assert [row.tolist() for row in whole.rows()] == [[1, 2, 3, 4], [5, 6]]
