"""Find the files of a checkpoint and hash their contents without loading them."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from unitlang.errors import UnitlangError

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint on disk.

    Attributes:
        weights: the file of tensors.
        config: Hugging Face's `config.json`, if the checkpoint is a folder.
        preprocessor: Hugging Face's `preprocessor_config.json`, if there is one.
    """

    weights: Path
    config: Path | None = None
    preprocessor: Path | None = None

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the contents of all files; their paths do not matter."""
        files = (self.weights, self.config, self.preprocessor)
        return hashlib.sha256(
            json.dumps([None if file is None else _sha256_of(file) for file in files]).encode()
        ).hexdigest()


def locate(checkpoint: str, remedy: str = "give a file of weights or a Hugging Face folder") -> CheckpointFiles:
    """Find the files of a checkpoint.

    Args:
        checkpoint: a file of weights, or a folder in Hugging Face's layout.
        remedy: advice in the error message if nothing is found.

    Raises:
        UnitlangError: there is no such file or folder, or the folder is not a checkpoint.
    """
    path = Path(checkpoint).expanduser()
    if path.is_file():
        return CheckpointFiles(path)
    if not path.is_dir():
        raise UnitlangError(f"no checkpoint at {path}: {remedy}")
    weights = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if weights is None or not (path / "config.json").is_file():
        raise UnitlangError(f"{path} is not a checkpoint folder: it needs config.json and one of {', '.join(_WEIGHTS)}")
    return files_of_folder(path, weights.name)


def files_of_folder(folder: Path, weights: str) -> CheckpointFiles:
    """The files of a Hugging Face folder; `weights` is the name of its file of tensors."""
    preprocessor = folder / "preprocessor_config.json"
    return CheckpointFiles(folder / weights, folder / "config.json", preprocessor if preprocessor.is_file() else None)


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        UnitlangError: it holds something else.
    """
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UnitlangError(f"{path} is not a JSON object: {error}") from error


def _sha256_of(path: Path) -> str:
    stat = path.stat()
    return _sha256_of_version(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of_version(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
