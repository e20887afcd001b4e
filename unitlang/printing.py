"""Text for people: what acts in a terminal, or hides in a text, is shown as an escape; secrets are hidden.

A file name or a transcript may hold the codes that move a terminal's cursor, turn the direction of writing or take no
space. Every output for people passes `shown` or `shown_lines` where it leaves the program; JSON passes `json_text`.
Letters of all scripts, their marks and emoji stay as they are.
"""

import json
import os
import re
from typing import Any

from unitlang.urls import HIDDEN, redacted

_ACTING = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, ESC and C1 among them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"  # unseen
    "\u2028\u2029\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # lines; tags and other unseen ones
    "\ud800-\udfff"  # bytes of a file name that is not UTF-8
    "]"
    # Joiners belong to Persian, Indic scripts and emoji: one of them, between two characters of such a kind.
    "|(?<![^\x00-\x7f\u200b-\u200f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200b-\u200f])"
    # A variant of a character, an emoji mostly: one.
    "|(?<=[\ufe00-\ufe0f])[\ufe00-\ufe0f]"
)
_CREDENTIAL = re.compile(r"(^|_)(SECRET|TOKEN|PASSWORD|PASSWD|KEY|CREDENTIALS?)$")
"""Names of environment variables that hold a secret."""
_SECRET_CHARACTERS = 8
"""A shorter value is no secret worth the words that it would blank out."""


def shown(text: str) -> str:
    """Return a text as one line for people, with line ends escaped too."""
    return _ACTING.sub(_escaped, _without_secrets(text))


def shown_lines(text: str) -> str:
    """Return a text of several lines for people, for instance a traceback; tabs and line feeds stay."""
    return _ACTING.sub(lambda match: match[0] if match[0] in "\n\t" else _escaped(match), _without_secrets(text))


def json_text(values: Any, indent: int | None = None) -> str:
    """Return values as JSON with readable letters: a parser reads the same values, and nothing acts in a terminal."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    return _ACTING.sub(lambda match: match[0] if match[0] == "\n" else _json_escaped(match[0]), text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _json_escaped(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _without_secrets(text: str) -> str:
    """Hide the secrets of URLs, and the credentials of the environment, which clients of servers may repeat."""
    for name, value in os.environ.items():
        if len(value) >= _SECRET_CHARACTERS and value in text and _CREDENTIAL.search(name.upper()):
            text = text.replace(value, HIDDEN)
    return redacted(text)
