"""What a stage is: a model, what it minimises and how it is judged. The rest is `echox.recipes.base`'s."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from echox.checkpoints import read_tensors
from echox.data.corpus import Corpus
from echox.data.reading import Batch, Reading
from echox.metrics import Share
from echox.objectives import Objective
from echox.presets import Architecture
from echox.recipes.config import StageConfig
from echox.recipes.run import Run
from echox.text.tokenizer import TextTokenizer

ConfigT = TypeVar("ConfigT", bound=StageConfig, covariant=True)
BatchT = TypeVar("BatchT", bound=Batch)
ModelT = TypeVar("ModelT", bound=nn.Module)

TABLE_SEED = 20_250_909
"""Seeds the text embeddings of language models without a checkpoint, so that all stages have the same."""


@dataclass(frozen=True)
class Setting(Generic[ConfigT]):
    """What a stage works with.

    Attributes:
        config: its settings.
        architecture: with the sizes of the vocabularies.
        tokenizer: of the language model.
        corpus: what it learns from.
        parts: finished runs that it stands on, by stage.
    """

    config: ConfigT
    architecture: Architecture
    tokenizer: TextTokenizer
    corpus: Corpus
    parts: Mapping[str, Run]


class Stage(ABC, Generic[ConfigT, BatchT, ModelT]):
    """One of the three."""

    name: ClassVar[str]
    """Key of `echox.recipes.config.CONFIGS`."""
    parts: ClassVar[tuple[str, ...]]
    """Names of `Objective.parts`."""
    measures: ClassVar[tuple[str, ...]]
    """What a validation measures besides the loss."""

    def __init__(self, setting: Setting[ConfigT]) -> None:
        self.setting = setting

    @abstractmethod
    def reading(self) -> Reading[Any]:
        """How it reads its table."""

    @abstractmethod
    def build(self) -> ModelT:
        """The model with random weights."""

    @abstractmethod
    def load(self, model: ModelT) -> None:
        """Fill in what is there already: pretrained weights, the runs that it stands on."""

    @abstractmethod
    def freeze(self, model: ModelT) -> None:
        """Let gradients flow only to what the stage trains."""

    @property
    def prepares(self) -> bool:
        """Whether `prepare` runs the model: FSDP must gather all weights for it."""
        return False

    @property
    def leaves_out(self) -> bool:
        """Whether some of what is trained gets no gradient from the loss: DDP must look for it."""
        return False

    def prepare(self, model: ModelT, batch: BatchT) -> Any:  # noqa: ARG002 - for those who override it
        """What the objective needs besides the batch; made without gradients."""
        return None

    @abstractmethod
    def objective(self, model: Any, batch: BatchT, prepared: Any) -> Objective:
        """The loss; `model` may be wrapped for several workers and is called once."""

    @abstractmethod
    def measure(self, model: ModelT, batch: BatchT, prepared: Any) -> Mapping[str, Share]:
        """The measures of a batch of validation."""


def text_table(architecture: Architecture) -> torch.Tensor:
    """(V, H): the language model's text embeddings, which no stage trains."""
    llm = architecture.llm
    if llm.checkpoint is not None:
        return read_tensors(Path(llm.checkpoint), "model.embed_tokens.")["weight"].float()
    generator = torch.Generator().manual_seed(TABLE_SEED)
    shape = (llm.vocabulary, llm.decoder.width)
    return torch.randn(shape, generator=generator) * llm.decoder.width**-0.5
