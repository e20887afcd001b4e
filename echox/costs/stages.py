"""Cost figures of the training stages: model, work and examples of each, in one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from echox.architectures import Architecture
from echox.costs.counts import Count, echo_counts, s2t_counts, t2c_counts
from echox.costs.operations import Example, Work, echo_work, s2t_work, t2c_work, writing
from echox.errors import EchoxError
from echox.models.echo import Echo
from echox.models.s2t import S2T
from echox.models.t2c import T2C

HOUR = 3600
TOKENS_PER_SECOND = 3.3
"""Assumption: 150 words of English a minute, 1.3 tokens a word."""
WORDS_PER_SECOND = 16.0
"""Words of the unit language: HuBERT-base, k = 500, BPE (docs/compression.md); a longer sample gives fewer."""
PROMPT_TOKENS = 20
"""Assumption: the chat format and a short request."""
SEGMENT_TOKENS = 40
"""Assumption: between the shortest and the longest segment of stage echo's defaults."""

ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True)
class Data:
    """The examples of a stage in EchoX's paper (arXiv:2509.09174).

    Attributes:
        hours: hours of speech.
        examples: number of examples.
    """

    hours: float
    examples: int

    @property
    def seconds(self) -> float:
        """Speech of an example, in seconds."""
        return self.hours * HOUR / self.examples


@dataclass(frozen=True)
class StageCosts(Generic[ModelT]):
    """The cost figures of a stage.

    Attributes:
        data: the paper's examples.
        build: makes the model, on the default device.
        parts: counts the weights of the model's parts.
        work: work of the training step for an example.
        example: the average example, from the architecture, the data, and whether the CTC is untrained.
        positions: length of an example as `data.max_tokens` counts it, from the example and the adapter's stack.
        writes: work of writing targets for an example, where the stage does that: FSDP2 gathers all weights for it.
        keeps_all_frames: whether, as long as CTC is untrained, every frame of speech takes memory.
    """

    data: Data
    build: Callable[[Architecture], ModelT]
    parts: Callable[[ModelT], dict[str, Count]]
    work: Callable[[Architecture, Example], Work]
    example: Callable[[Architecture, Data, bool], Example]
    positions: Callable[[Example, int], int]
    writes: Callable[[Architecture, Example], float] | None = None
    keeps_all_frames: bool = False

    def model(self, architecture: Architecture) -> ModelT:
        """Return the stage's model on the meta device, frozen as the stage freezes it."""
        with torch.device("meta"):
            return self.build(architecture)

    def counts(self, architecture: Architecture) -> dict[str, Count]:
        """Return the weights of the model's parts."""
        return self.parts(self.model(architecture))


def costs_of(stage: str) -> StageCosts[Any]:
    """Return the cost figures of a stage.

    Raises:
        EchoxError: the stage has none.
    """
    if stage not in COSTS:
        known = ", ".join(COSTS)
        raise EchoxError(
            f"stage {stage}: has no cost figures; add them to COSTS in echox/costs/stages.py, as of {known}"
        )
    return COSTS[stage]


def stage_model(architecture: Architecture, stage: str) -> nn.Module:
    """Return a stage's model on the meta device, frozen as the stage freezes it.

    Raises:
        EchoxError: the stage has no cost figures.
    """
    return costs_of(stage).model(architecture)


def stage_work(architecture: Architecture, stage: str, example: Example) -> Work:
    """Return a training step's share for one example, without the writing of pseudo-labels.

    Raises:
        EchoxError: the stage has no cost figures, or the encoder or the whole language model is trained: only LoRA is
            accounted for.
    """
    if architecture.encoder.trainable or architecture.llm.trainable == "all":
        raise EchoxError("costs are known for frozen encoders and LoRA; choose echox-3b, echox-8b or one like them")
    return costs_of(stage).work(architecture, example)


def example_of(architecture: Architecture, stage: str, *, first: bool = False) -> Example:
    """Return the average example of the paper's data.

    Args:
        architecture: its encoder determines the number of states.
        stage: name of the stage.
        first: while CTC is untrained, when every frame may be kept; later two for each token of speech.

    Raises:
        EchoxError: the stage has no cost figures.
    """
    costs = costs_of(stage)
    return costs.example(architecture, costs.data, first)


def _s2t_model(architecture: Architecture) -> S2T:
    model = S2T(architecture, placeholder=0)
    model.freeze()
    return model


def _t2c_model(architecture: Architecture) -> T2C:
    return T2C(architecture.t2c, torch.empty(architecture.llm.vocabulary, architecture.llm.decoder.hidden_size))


def _echo_model(architecture: Architecture) -> Echo:
    model = Echo(architecture, placeholder=0)
    model.freeze(train_s2t=True)
    return model


def _spoken_example(architecture: Architecture, data: Data, first: bool) -> Example:
    encoder = architecture.encoder
    states = encoder.max_frames // 2 if encoder.full_window else round(50 * data.seconds)
    tokens, frames = round(TOKENS_PER_SECOND * data.seconds), states // architecture.adapter.stack
    speech = frames if first else min(frames, 2 * tokens + 1)
    return Example(states=states, speech=speech, prompt=PROMPT_TOKENS, response=tokens + 1)


def _text_example(architecture: Architecture, data: Data, first: bool) -> Example:  # noqa: ARG001 - of StageCosts
    return Example(response=round(TOKENS_PER_SECOND * data.seconds), words=round(WORDS_PER_SECOND * data.seconds))


def _echo_example(architecture: Architecture, data: Data, first: bool) -> Example:
    text = _text_example(architecture, data, first)
    segments = max(1, round(text.response / SEGMENT_TOKENS))
    return replace(_spoken_example(architecture, data, first), words=text.words, segments=segments)


def _spoken_positions(example: Example, stack: int) -> int:
    return example.states // stack + example.prompt + example.response


def _text_positions(example: Example, stack: int) -> int:  # noqa: ARG001 - of StageCosts
    return example.response + example.words


COSTS: Mapping[str, StageCosts[Any]] = {
    "s2t": StageCosts(
        Data(960 + 3000 + 178 + 327, 281_241 + 723_636 + 43_223 + 117_000),  # LibriSpeech, MLS, the dialogues
        _s2t_model,
        s2t_counts,
        s2t_work,
        _spoken_example,
        _spoken_positions,
        keeps_all_frames=True,
    ),
    "t2c": StageCosts(
        Data(989 + 84 + 656, 178_576 + 31_563 + 124_945),  # the answers' texts with their speech
        _t2c_model,
        t2c_counts,
        t2c_work,
        _text_example,
        _text_positions,
    ),
    "echo": StageCosts(
        Data(178 + 327, 43_223 + 117_000),  # the dialogues
        _echo_model,
        echo_counts,
        echo_work,
        _echo_example,
        _spoken_positions,
        writes=writing,
    ),
}
"""Cost figures by stage; a stage without figures is trained all the same."""
