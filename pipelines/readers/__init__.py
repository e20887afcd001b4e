"""Sources of speech: every module here that defines a `Reader` is a `kind` of source, found by itself."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from pipelines.readers.base import BadItem, Item, Reader
from unitlang.registry import by_name, classes_in

READERS: dict[str, type[Reader]] = by_name(
    classes_in(__name__, __path__, Reader), lambda reader: reader.model_fields["kind"].default
)
"""Every kind of source and its reader."""

if TYPE_CHECKING:
    SourceConfig = Reader
else:
    SourceConfig = Annotated[Union[tuple(READERS.values())], Field(discriminator="kind")]  # noqa: UP007
    """The configuration of one source; `kind` chooses the reader."""

__all__ = ["READERS", "BadItem", "Item", "Reader", "SourceConfig"]
