"""The base class of all frozen configurations."""

from pydantic import BaseModel, ConfigDict


class FrozenConfig(BaseModel):
    """Base class of configurations: they cannot be changed, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
