"""The base class of the configurations of all parts."""

from pydantic import ConfigDict


class PartConfig:
    """Base class of the frozen dataclasses that configure a part: unknown fields in a file are errors."""

    __pydantic_config__ = ConfigDict(extra="forbid")
