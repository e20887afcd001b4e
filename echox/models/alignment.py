"""The state of each token: the one that predicts it, in training and in inference."""

# Shapes: B = sequences, L = positions, D = hidden size, T = tokens.

from torch import Tensor

from echox.models.ragged import Ragged


def predicting_states(states_BLD: Tensor, start_B: Tensor, lengths_B: Tensor) -> Ragged:
    """Return (B, T, D): for each of `lengths_B` tokens from position `start_B` on, the state that predicts it.

    A causal model's state at position i has seen tokens 0..i and predicts token i + 1. So the state of
    token i is at i - 1, the only one that exists when streaming inference has just chosen token i.

    Args:
        states_BLD: one state per position.
        start_B: position of the first token, at least 1.
        lengths_B: number of tokens.
    """
    return Ragged(states_BLD, lengths_B).cut(start_B - 1, lengths_B)
