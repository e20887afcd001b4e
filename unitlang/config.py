"""Base class of all pydantic configs."""

from pydantic import BaseModel, ConfigDict


class FrozenConfig(BaseModel):
    """An immutable config that refuses unknown fields and takes field descriptions from the docstrings below them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
