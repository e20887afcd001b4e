"""Settings of the gates: how far a version may move before a person must approve it."""

from pydantic import Field

from unitlang.config import FrozenConfig


class GatesConfig(FrozenConfig):
    """By how much a new version may differ from the last accepted one; a gate that is not set is open.

    All but `gone` compare what the sources list, without the entries that the versions keep of earlier lists.
    """

    reject_ratio: float | None = Field(default=None, ge=0.0, le=1.0, allow_inf_nan=False)
    """Most that the share of rejected entries may rise or fall by, as a difference: 0.01 lets 1 % become 2 %."""
    hours: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Most that the hours of speech may grow or shrink by, as a share of what they were."""
    compression: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Most that frames/words may grow or shrink by, as a share of what it was."""
    gone: float | None = Field(default=None, ge=0.0, le=1.0, allow_inf_nan=False)
    """Largest share of the utterances of a dataset that its source may stop listing, where they are kept."""
