"""Sources of speech: a module here that defines a `Reader` registers a `kind` of source by being there."""

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
    """Configuration of one source; `kind` selects the reader."""

__all__ = ["READERS", "BadItem", "Item", "Reader", "SourceConfig"]
