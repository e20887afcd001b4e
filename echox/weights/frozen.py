"""The frozen weights of a run: files that it refers to by path and hash, and those that no other file has."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from torch import nn

from echox.errors import EchoxError
from echox.weights.filling import fill, names_of, plain_name
from echox.weights.writing import Promised, write_tensors
from storage.local import write_file

REFERENCES = "frozen.json"
OWN = "frozen.safetensors"


@dataclass(frozen=True)
class Reference:
    """A file that holds frozen weights.

    Attributes:
        bytes: its size.
        modified: time of its last change, in nanoseconds, which spares the reading of a file that is as it was.
        sha256: its hash.
    """

    bytes: int
    modified: int
    sha256: str


_REFERENCES = TypeAdapter(dict[str, Reference])


def refer(folder: Path, files: Iterable[Path]) -> None:
    """Write which files a run takes frozen weights from.

    Args:
        folder: folder of the run.
        files: safetensors files.
    """
    found = {str(path.resolve()): _reference(path) for path in files}
    text = json.dumps({path: asdict(reference) for path, reference in found.items()}, indent=1)
    write_file(folder / REFERENCES, text.encode(), replace=True)


def check_references(folder: Path) -> bool:
    """Check that the files that a run refers to are as they were; return False if it refers to none yet.

    Raises:
        EchoxError: a file is gone or changed, or the references cannot be read.
    """
    path = folder / REFERENCES
    if not path.is_file():
        return False
    try:
        references = _REFERENCES.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise EchoxError(f"{path}: cannot be read: {error}; give another folder for --out") from None
    for name, reference in references.items():
        _check(Path(name), reference, folder)
    return True


def _check(path: Path, reference: Reference, folder: Path) -> None:
    try:
        found = path.stat()
        same = found.st_size == reference.bytes
        if same and found.st_mtime_ns != reference.modified:
            same = _hash(path) == reference.sha256
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); its frozen weights belong to the run in {folder}"
        raise EchoxError(f"{path}: {problem}; bring it back, or give another folder for --out") from None
    if not same:
        problem = f"is not the file whose frozen weights belong to the run in {folder} (SHA-256 {reference.sha256})"
        raise EchoxError(f"{path}: {problem}; bring it back, or give another folder for --out")


def _reference(path: Path) -> Reference:
    found = path.stat()
    return Reference(found.st_size, found.st_mtime_ns, _hash(path))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_names(model: nn.Module, referred: tuple[str, ...]) -> list[str]:
    """Return the names of frozen weights that no file has.

    Args:
        model: the model, frozen as it is trained.
        referred: beginnings of the names of weights that files have.
    """
    return [name for name in frozen_names(model) if not name.startswith(referred)]


def frozen_names(model: nn.Module) -> list[str]:
    """Return the names of the weights that get no gradient."""
    return names_of(model, lambda weight: not weight.requires_grad)


def keep_own(folder: Path, model: nn.Module, referred: tuple[str, ...]) -> None:
    """Write the frozen weights that no file has, once for all checkpoints of a run."""
    weights = model.state_dict()
    write_tensors(folder / OWN, {name: Promised.of(weights[name]) for name in own_names(model, referred)})


def recall_own(folder: Path, model: nn.Module) -> None:
    """Give a model the frozen weights that `keep_own` wrote.

    Raises:
        EchoxError: their file is gone.
    """
    path = folder / OWN
    if not path.is_file():
        raise EchoxError(f"{path}: is gone, and with it frozen weights of the run; give another folder for --out")
    fill(model, load_file(path))


def leave_out_frozen(model: nn.Module) -> None:
    """Let the model's state be without its frozen weights, which stay as they are when a state is loaded."""
    frozen = frozen_names(model)

    def leave_out(_module: nn.Module, state: dict[str, Any], _prefix: str, _metadata: Any) -> None:
        for name in frozen:
            state.pop(name, None)

    def put_back(module: nn.Module, state: dict[str, Any], *_: Any) -> None:
        for path, part in module.named_modules():
            for name, weight in part.named_parameters(path, recurse=False):
                if not weight.requires_grad:
                    state[plain_name(name)] = weight

    model.register_state_dict_post_hook(leave_out)
    model.register_load_state_dict_pre_hook(put_back)
