"""Fingerprints: a name for everything that a value depends on."""

from hashlib import sha256
from json import dumps
from typing import Any


def fingerprint(*parts: Any) -> str:
    """32 hex digits of the SHA-256 of the parts' canonical JSON.

    Raises:
        TypeError: for a part that JSON cannot hold.
    """
    text = dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode()).hexdigest()[:32]
