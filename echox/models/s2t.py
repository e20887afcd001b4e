"""S2T: a language model that reads speech in its prompt, in place of a placeholder."""

# Shapes: B = examples, P = positions of a prompt or prefix, R = tokens of a response, L = positions, H = hidden size of
# the language model, V = its vocabulary.

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from echox.errors import EchoxError
from echox.models.adapter import Adapter
from echox.models.alignment import predicting_states
from echox.models.encoder import make_encoder
from echox.models.language_model import LanguageModel
from echox.models.ragged import Ragged, concatenate
from echox.models.scores import CtcScores, Predictions

if TYPE_CHECKING:
    from echox.architectures import Architecture


@dataclass(frozen=True)
class S2TInputs:
    """A batch of spoken requests with their answers.

    Attributes:
        speech: (B, F, M) log-mel frames or (B, N) waveforms, the encoder's inputs.
        prompt: (B, P) ids with the placeholder exactly once.
        response: (B, R) ids of the answer, the token that ends the turn included.
        transcript: (B, C) ids of the transcript; length 0 where it is unknown.
    """

    speech: Ragged
    prompt: Ragged
    response: Ragged
    transcript: Ragged

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "S2TInputs":
        """Return the same on a device."""
        parts = (self.speech, self.prompt, self.response, self.transcript)
        return S2TInputs(*(part.to(device, non_blocking=non_blocking) for part in parts))


@dataclass(frozen=True)
class S2TOutput:
    """The output of S2T in training.

    Attributes:
        response: logits_NV of the response's tokens.
        states: (B, R, H), for each token of the response the state that predicts it.
        ctc: CTC scores of the transcripts.
    """

    response: Predictions
    states: Ragged
    ctc: CtcScores


class S2T(nn.Module):
    """Speech encoder, adapter and language model."""

    def __init__(self, architecture: "Architecture", placeholder: int) -> None:
        """Make a model with random weights; `placeholder` is the id that speech replaces, and CTC's blank."""
        super().__init__()
        llm = architecture.llm
        self.placeholder = placeholder
        self.encoder = make_encoder(architecture.encoder)
        self.adapter = Adapter(
            architecture.adapter, architecture.encoder.hidden_size, llm.decoder.hidden_size, llm.vocabulary
        )
        self.llm = LanguageModel(llm)

    def forward(self, inputs: S2TInputs) -> S2TOutput:
        """Compute the scores of teacher forcing."""
        heard, ctc = self.adapter.with_ctc(self.encoder(inputs.speech), inputs.transcript, self.placeholder)
        states = self.states(self.insert(heard, inputs.prompt), inputs.response)
        return S2TOutput(self.predict(states, inputs.response), states, ctc)

    def states(self, prefix: Ragged, response: Ragged) -> Ragged:
        """Return (B, R, H), for each token of a response the state that predicts it.

        Args:
            prefix: (B, P, H) prompts with speech.
            response: (B, R) ids.
        """
        embedded = Ragged(self.llm.embed(response.values_BL), response.lengths_B)
        states_BLH = self.llm.states(concatenate([prefix, embedded]).values_BL)
        return predicting_states(states_BLH, prefix.lengths_B, response.lengths_B)

    def predict(self, states: Ragged, response: Ragged) -> Predictions:
        """Return the scores of the response's tokens, (B, R), from the states that predict them."""
        return Predictions(self.llm.logits(states.flat()), response.flat(), response.lengths_B)

    def prefix(self, speech: Ragged, prompt: Ragged) -> Ragged:
        """Return (B, P, H), the prompt with speech, which the response follows."""
        return self.insert(self.adapter(self.encoder(speech)), prompt)

    def insert(self, speech: Ragged, prompt: Ragged) -> Ragged:
        """Return (B, P, H), the prompt's embeddings with speech, (B, K, H), in place of the placeholder.

        Raises:
            EchoxError: a prompt has no placeholder or several.
        """
        at_BP = (prompt.values_BL == self.placeholder) & prompt.mask
        if not bool((at_BP.sum(1) == 1).all()):
            raise EchoxError(f"prompt: the placeholder, id {self.placeholder}, must occur in it exactly once")
        position_B = at_BP.int().argmax(1)
        embedded = Ragged(self.llm.embed(prompt.values_BL), prompt.lengths_B)
        before = Ragged(embedded.values_BL, position_B)
        after = embedded.cut(position_B + 1, prompt.lengths_B - position_B - 1)
        return concatenate([before, speech, after])

    def load(self) -> None:
        """Load the pretrained weights of the parts that name a checkpoint.

        Raises:
            EchoxError: a checkpoint does not fit.
        """
        self.encoder.load()
        self.llm.load()

    def freeze(self) -> None:
        """Let gradients flow only to the adapter, and to what encoder and language model are configured to train."""
        self.adapter.requires_grad_(True)
        self.encoder.freeze()
        self.llm.freeze()
