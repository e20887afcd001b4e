"""Model folders as Hugging Face lays them out: `config.json` and `model.safetensors`; nothing is downloaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from unitlang.errors import UnitlangError
from unitlang.features.base import ExtractorConfig
from unitlang.features.files import CheckpointFiles, files_of_folder, read_json_object
from unitlang.features.weights import check_finite, read_weights

if TYPE_CHECKING:
    from torch.nn import Module


_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


class FolderConfig(ExtractorConfig):
    """Base class of the configs of extractors whose model comes in a local Hugging Face folder.

    Attributes:
        model_type: `model_type` that the folder's `config.json` must state.
    """

    model_type: ClassVar[str]

    checkpoint: str = Field(min_length=1)
    """A Hugging Face folder: `config.json` and `model.safetensors`."""

    @classmethod
    def missing_files(cls, values: Mapping[str, Any], absolute: Callable[[str], str]) -> Iterator[tuple[str, str]]:
        """See `ExtractorConfig.missing_files`."""
        checkpoint = values.get("checkpoint")
        if isinstance(checkpoint, str) and checkpoint:
            try:
                locate_folder(absolute(checkpoint), cls.model_type)
            except UnitlangError as error:
                yield "checkpoint", str(error)

    def settled(self, absolute: Callable[[str], str]) -> tuple[Self, str | None]:
        """See `ExtractorConfig.settled`."""
        return self.model_copy(update={"checkpoint": absolute(self.checkpoint)}), None

    def files(self) -> CheckpointFiles:
        """Find the files of the folder.

        Raises:
            UnitlangError: as `locate_folder`.
        """
        return locate_folder(self.checkpoint, self.model_type)


def locate_folder(checkpoint: str, model_type: str) -> CheckpointFiles:
    """Find the files of a model's folder.

    Args:
        checkpoint: the folder.
        model_type: what `config.json` must call it.

    Raises:
        UnitlangError: there is no such folder, a file of it is missing, or it is another type of model.
    """
    remedy = f"give the local Hugging Face folder of a `{model_type}` model"
    path = Path(checkpoint).expanduser()
    if not path.is_dir():
        raise UnitlangError(f"checkpoint: no folder at {path}: {remedy}")
    missing = [name for name in (_WEIGHTS, _CONFIG) if not (path / name).is_file()]
    if missing:
        raise UnitlangError(f"checkpoint: {path} has no {' and no '.join(missing)}: {remedy}")
    found = read_json_object(path / _CONFIG).get("model_type")
    if found != model_type:
        raise UnitlangError(f"checkpoint: {path / _CONFIG}: model_type is {found!r}, not {model_type!r}: {remedy}")
    return files_of_folder(path, _WEIGHTS)


def read_settings(files: CheckpointFiles, layers_field: str, layer: int) -> dict[str, Any]:
    """Return the values of `config.json`.

    Args:
        files: of a folder.
        layers_field: the field that holds the number of layers.
        layer: the wanted one, from 1.

    Raises:
        UnitlangError: the file is no JSON object, has no such field, or the model has no such layer.
    """
    assert files.config is not None  # noqa: S101 - `locate_folder` has seen it
    settings = read_json_object(files.config)
    layers = settings.get(layers_field)
    if not isinstance(layers, int):
        raise UnitlangError(f"{files.config} has no whole number in {layers_field}: copy the model's folder again")
    if layer > layers:
        raise UnitlangError(
            f"{files.config}: the model has {layers} layers: `layer: {layer}` does not exist, give 1 to {layers}"
        )
    return settings


def load_weights(module: "Module", files: CheckpointFiles, prefixes: Sequence[str]) -> None:
    """Set the parameters of a part of a model, in float32; the rest of the file is ignored.

    Args:
        module: the part; left in eval mode.
        files: where the weights are.
        prefixes: of the part's names in the file; the first that any name has counts.

    Raises:
        UnitlangError: a tensor is missing, has another shape, or holds NaN or infinite values.
    """
    tensors = read_weights(files.weights)
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in tensors)), "")
    names = {name: f"{prefix}{name}" for name in module.state_dict()}
    missing = [name for name in names.values() if name not in tensors]
    if missing:
        listed = ", ".join(missing[:5])
        raise UnitlangError(f"{files.weights} does not fit its config.json: it has no tensor {listed}")
    check_finite({name: tensors[name] for name in names.values()}, str(files.weights))
    try:
        module.load_state_dict({name: tensors[source].float() for name, source in names.items()})
    except RuntimeError as error:
        raise UnitlangError(f"{files.weights}: shapes do not fit its config.json: {error}") from error
    module.eval()
