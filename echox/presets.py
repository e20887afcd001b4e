"""The old name of `echox.architectures`; it will be gone in the next release."""

import warnings

from echox.architectures import ARCHITECTURES as PRESETS
from echox.architectures import Architecture, dump_architecture, load_architecture

__all__ = ["PRESETS", "Architecture", "dump_architecture", "load_architecture"]

warnings.warn(
    "echox.presets is now called echox.architectures, and PRESETS ARCHITECTURES; the old names will be gone in the "
    "next release",
    FutureWarning,
    stacklevel=2,
)
