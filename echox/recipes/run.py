"""A run's folder: what was asked, from what, and where its results lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from echox.errors import EchoxError
from echox.presets import Architecture
from echox.text.tokenizer import TextTokenizer, load_tokenizer
from storage.local import write_file

CARD = "run.yaml"
METRICS = "metrics.jsonl"
TRAINABLE = "trainable.safetensors"
MODEL = "model"
WEIGHTS = "model.safetensors"
CHECKPOINTS = "checkpoints"


class RunCard(BaseModel):
    """What a run states about itself (run.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    """`s2t`, `t2c` or `echo`."""
    corpus: str
    """STORE@VERSION."""
    preset: str
    """Name or file of the architecture."""
    settings: tuple[str, ...]
    """What was set, FIELD=VALUE."""
    parts: dict[str, str]
    """Runs that it stands on, by stage."""
    fingerprints: dict[str, str]
    """Of `quantizer`, `unit_language` and `tokenizer`."""
    config: dict[str, Any]
    """The resolved configuration."""
    architecture: dict[str, Any]
    """The architecture, with the sizes of the vocabularies."""
    code: str
    """Version of the package."""


@dataclass(frozen=True)
class Run:
    """The folder of a run that has begun.

    Attributes:
        folder: the folder.
        card: what it states.
    """

    folder: Path
    card: RunCard

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A run that has begun.

        Raises:
            EchoxError: the folder holds none, or a damaged one.
        """
        path = folder / CARD
        try:
            return cls(folder, RunCard.model_validate(yaml.safe_load(path.read_text())))
        except FileNotFoundError:
            raise EchoxError(f"{folder}: no {CARD} there; give the folder of a run of `echox train`") from None
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise EchoxError(f"{path}: cannot be read: {error}") from None

    @property
    def weights(self) -> Path:
        """The best model's weights.

        Raises:
            EchoxError: the run has not finished.
        """
        path = self.folder / MODEL / WEIGHTS
        if not path.is_file():
            raise EchoxError(f"{self.folder}: the run has not finished; train it to its end first")
        return path

    @property
    def architecture(self) -> Architecture:
        """The architecture, with the sizes of the vocabularies."""
        return TypeAdapter(Architecture).validate_python(self.card.architecture)

    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that it was trained with."""
        return load_tokenizer(self.folder)

    def begin(self, tokenizer: TextTokenizer) -> None:
        """Write the card and the tokenizer, or find them as they would be written.

        Raises:
            EchoxError: the folder holds another run.
        """
        path = self.folder / CARD
        if path.exists():
            check_same(Run.open(self.folder).card, self.card, self.folder)
            return
        tokenizer.save(self.folder)
        write_file(path, yaml.safe_dump(self.card.model_dump(mode="json"), sort_keys=False).encode(), replace=False)


def check_same(found: RunCard, wanted: RunCard, folder: Path) -> None:
    """A run goes on only as it began.

    Raises:
        EchoxError: naming the fields that differ.
    """
    differing = [name for name in RunCard.model_fields if name != "code" and _differ(found, wanted, name)]
    if differing:
        raise EchoxError(f"{folder}: holds a run with another {', '.join(differing)}; choose another folder for --out")


def _differ(found: RunCard, wanted: RunCard, name: str) -> bool:
    return getattr(found, name) != getattr(wanted, name)


def open_parts(parts: Mapping[str, str]) -> dict[str, Run]:
    """Runs by stage.

    Raises:
        EchoxError: a folder holds no run, or one of another stage.
    """
    runs = {stage: Run.open(Path(folder)) for stage, folder in parts.items()}
    for stage, run in runs.items():
        if run.card.stage != stage:
            raise EchoxError(f"--{stage} {run.folder}: is a run of stage {run.card.stage}")
    return runs


def code_version() -> str:
    """Version of the package."""
    return version("echox")
