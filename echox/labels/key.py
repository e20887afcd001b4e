"""The name of labels: a fingerprint of the models that write them and of the settings that they depend on."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from storage.records import to_json
from unitlang.config import FrozenConfig

SETTINGS = ("prompt", "system", "max_new_tokens", "max_words", "segments", "sentences", "trigger", "decoding")
"""Settings of stage echo that labels depend on."""
CHECKPOINT = "checkpoint"
"""Field of an architecture with the folder of pretrained weights; the weights of a run contain them."""


class LabelKey(NamedTuple):
    """Everything that labels depend on besides the version.

    Attributes:
        models: fingerprints of the models by stage.
        settings: settings of stage echo that differ from their defaults.
    """

    models: dict[str, str]
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the labels: 32 hexadecimal digits."""
        return _digest(self._asdict())


def label_key(models: Mapping[str, str], config: FrozenConfig) -> LabelKey:
    """Return the key of the labels that models write with the settings of stage echo.

    Args:
        models: fingerprints of S2T and T2C by stage.
        config: settings of stage echo.
    """
    settings = config.model_dump(mode="json", include=set(SETTINGS), exclude_defaults=True)
    return LabelKey(dict(models), settings)


def model_fingerprint(weights: Path, architecture: Mapping[str, Any], tokenizer: str) -> str:
    """Return a fingerprint of a trained model, wherever its folder lies.

    Args:
        weights: file of all its weights.
        architecture: its architecture, as `run.yaml` has it.
        tokenizer: fingerprint of its tokenizer.

    Raises:
        OSError: the file cannot be read.
    """
    contents = _of_file(weights, weights.stat().st_mtime_ns)
    return _digest({"weights": contents, "architecture": _without_folders(architecture), "tokenizer": tokenizer})


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(values)).hexdigest()[:32]


@cache
def _of_file(path: Path, written_ns: int) -> str:
    """SHA-256 of a file, which is read once in a process while nobody writes it anew."""
    del written_ns
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_folders(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _without_folders(value) for name, value in values.items() if name != CHECKPOINT}
    return values
