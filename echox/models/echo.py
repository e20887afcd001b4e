"""Echo training: the Echo decoder speaks from the language model's states."""

from dataclasses import dataclass

from echox.models.config import PartConfig


@dataclass(frozen=True, kw_only=True)
class EchoConfig(PartConfig):
    """The denoising adapter; the Echo decoder itself is T2C's copy."""

    inner: int
    """I: inner width of the denoising adapter."""
    dropout: float = 0.1
    """Dropout between its two layers."""
