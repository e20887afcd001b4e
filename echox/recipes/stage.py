"""The base class of training stages. `echox.recipes.base` trains what a stage describes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from echox.architectures import Architecture
from echox.checkpoints import check_finite, read_tensors
from echox.data.corpus import Corpus
from echox.data.reading import Batch, Reading
from echox.metrics import Share
from echox.objectives import Objective
from echox.recipes.config import StageConfig
from echox.recipes.folder import RunFolder
from echox.text.tokenizer import TextTokenizer

ConfigT = TypeVar("ConfigT", bound=StageConfig, covariant=True)
BatchT = TypeVar("BatchT", bound=Batch)
ModelT = TypeVar("ModelT", bound=nn.Module)

TABLE_SEED = 20_250_909
"""Seed of the text embeddings of language models without a checkpoint, so that all stages have the same."""


@dataclass(frozen=True)
class Setting(Generic[ConfigT]):
    """Everything that a stage works with.

    Attributes:
        config: settings of the stage.
        architecture: the architecture, with the sizes of the vocabularies.
        tokenizer: tokenizer of the language model.
        corpus: corpus version to train on.
        source_models: finished runs that the stage starts from, by stage.
        init: folder with the values that the trained weights begin with.
    """

    config: ConfigT
    architecture: Architecture
    tokenizer: TextTokenizer
    corpus: Corpus
    source_models: Mapping[str, RunFolder]
    init: Path | None = None


class Stage(ABC, Generic[ConfigT, BatchT, ModelT]):
    """Base class of training stages: a model, its loss and its metrics.

    A stage is one module of `echox/recipes/stages/`, named like the stage; `echox.stages` finds it there.
    """

    name: ClassVar[str]
    """Name of the stage and of its module."""
    stands_on: ClassVar[tuple[str, ...]] = ()
    """Stages whose finished runs it needs."""
    table: ClassVar[str]
    """Training table that it reads."""
    fed_by: ClassVar[str] = "speech"
    """Origin of the examples of its table, as the remedy where a corpus has none."""
    text_columns: ClassVar[tuple[str, ...]] = ()
    """Columns of its table from which a tokenizer is learnt, if no other stage's table has the same texts."""
    config: ClassVar[type[StageConfig]]
    """Class of its settings."""
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Defaults of its settings by architecture; other architectures have those of `config`, the papers'."""
    loss_parts: ClassVar[tuple[str, ...]]
    """Names of `Objective.parts`."""
    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics of a validation, besides the loss."""

    def __init__(self, setting: Setting[ConfigT]) -> None:
        self.setting = setting

    @classmethod
    def check(cls, config: Any, corpus: Corpus, sources: Mapping[str, RunFolder]) -> None:
        """Check, before a run begins, what the stage needs besides its table and its finished source models.

        Raises:
            EchoxError: something is missing; names the remedy.
        """
        del config, corpus, sources

    @abstractmethod
    def reading(self) -> Reading[Any]:
        """Return how the stage reads its table."""

    @abstractmethod
    def build(self) -> ModelT:
        """Return the model with random weights, on torch's default device, which may be meta.

        Parts that have checkpoints may be on the meta device in any case.
        """

    @abstractmethod
    def load(self, model: ModelT) -> None:
        """Load the weights that exist already: pretrained ones, and those of the source models.

        The model is frozen already, and its frozen weights may have another dtype than float32.
        """

    def frozen_files(self) -> Mapping[str, Sequence[Path]]:
        """Return the files that `load` reads frozen weights from, by the beginning of these weights' names.

        A run refers to them; it keeps a copy of frozen weights that no file has.
        """
        return {}

    @abstractmethod
    def freeze(self, model: ModelT) -> None:
        """Let gradients flow only to the weights that the stage trains."""

    @property
    def prepares(self) -> bool:
        """Whether `prepare` runs the model: FSDP must gather all weights for it."""
        return False

    def prepare(self, model: ModelT, batch: BatchT) -> Any:  # noqa: ARG002 - for those who override it
        """Return what the objective needs besides the batch, computed without gradients."""
        return None

    @abstractmethod
    def objective(self, model: Any, batch: BatchT, prepared: Any) -> Objective:
        """Return the loss; `model` may be wrapped for several workers and is called once."""

    @abstractmethod
    def measure(self, model: ModelT, batch: BatchT, prepared: Any) -> Mapping[str, Share]:
        """Return the metrics of a validation batch."""


def text_table(architecture: Architecture) -> torch.Tensor:
    """Return the language model's text embeddings, (V, H), which no stage trains.

    Raises:
        EchoxError: the checkpoint has no usable embeddings.
    """
    llm = architecture.llm
    if llm.checkpoint is not None:
        tensors = read_tensors(Path(llm.checkpoint), "model.embed_tokens.")
        check_finite(tensors, Path(llm.checkpoint))
        return tensors["weight"]
    generator = torch.Generator().manual_seed(TABLE_SEED)
    shape = (llm.vocabulary, llm.decoder.hidden_size)
    return torch.randn(shape, generator=generator, device="cpu") * llm.decoder.hidden_size**-0.5
