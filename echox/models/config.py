"""What the configurations of all parts have in common."""

from pydantic import ConfigDict


class PartConfig:
    """Base of the frozen dataclasses that configure a part: unknown fields in a file are errors."""

    __pydantic_config__ = ConfigDict(extra="forbid")
