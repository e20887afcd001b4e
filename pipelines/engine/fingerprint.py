"""Fingerprints: hashes of everything that a value depends on."""

from hashlib import sha256
from json import dumps
from typing import Any


def fingerprint(*parts: Any) -> str:
    """Return 32 hex digits of the SHA-256 of the parts' canonical JSON.

    Raises:
        TypeError: a part cannot be stored as JSON.
    """
    text = dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode()).hexdigest()[:32]
