"""The base of all pydantic configs."""

from pydantic import BaseModel, ConfigDict


class FrozenConfig(BaseModel):
    """A config that cannot change, refuses unknown fields, and describes each field by the docstring below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
