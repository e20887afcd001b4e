"""Paths in config files, relative to the file that contains them."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


def absolute(path: str, base: Path) -> str:
    """Return URLs and absolute paths unchanged; expand `~` and join relative paths to `base`."""
    if "://" in path:
        return path
    return str(base / Path(path).expanduser())


def _resolve(path: str, info: ValidationInfo) -> str:
    context = info.context or {}
    return absolute(path, context["base"]) if "base" in context else path


ConfigPath = Annotated[str, AfterValidator(_resolve)]
"""A path or URL of a config; `base` in the validation context is the folder of the config file."""
