"""Which state belongs to which token: the one that predicts it, in training and in inference alike."""

# Shapes: B = sequences, L = positions, D = width, T = tokens that are asked for.

from torch import Tensor

from echox.models.ragged import Ragged


def predicting_states(states_BLD: Tensor, start_B: Tensor, lengths_B: Tensor) -> Ragged:
    """(B, T, D): for each of `lengths_B` tokens from position `start_B` on, the state that predicts it.

    A causal model's state at position i has seen tokens 0..i and predicts token i + 1. So token i's state stands at
    i - 1, which is also the only one that there is when streaming inference has just chosen token i.

    Args:
        states_BLD: one state a position.
        start_B: position of the first token, at least 1.
        lengths_B: number of tokens.
    """
    return Ragged(states_BLD, lengths_B).cut(start_B - 1, lengths_B)
