"""Sources of speech: every module here that defines a `Reader` is a `kind` of source, found by itself."""

from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from pipelines.readers.base import BadItem, Item, Reader


def _find_readers() -> dict[str, type[Reader]]:
    found: dict[str, type[Reader]] = {}
    for module in sorted(iter_modules(__path__, f"{__name__}."), key=lambda info: info.name):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Reader) and not isabstract(value):
                found[value.model_fields["kind"].default] = value
    return found


READERS: dict[str, type[Reader]] = _find_readers()
"""Every kind of source and its reader."""

if TYPE_CHECKING:
    SourceConfig = Reader
else:
    SourceConfig = Annotated[Union[tuple(READERS.values())], Field(discriminator="kind")]  # noqa: UP007
    """The configuration of one source; `kind` chooses the reader."""

__all__ = ["READERS", "BadItem", "Item", "Reader", "SourceConfig"]
