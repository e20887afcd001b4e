"""Secrets in URLs: user, password, token, signature. They are found here, and hidden in messages."""

import re
from urllib.parse import unquote_plus

HIDDEN = "***"
"""Replacement of a secret."""
_USER = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)"
    r"(?:[^/?#\s@]*(?:@[^/?#\s@]*)*@"  # up to the last @ before the path
    r"|[^/?#\s:@\[]*:(?!\d*(?:[/?#\s]|$))\S*@)"  # a password with a slash in it: no port starts there
)
_PARAMETER = re.compile(r"(?P<start>[?&;#](?P<name>[^=&?;#\s]+)=)(?P<value>[^&;#\s\"'<>]+)")
_SECRET_NAME = re.compile(
    r"(?:^|[^a-z])(?:sig|signature|signed|token|secret|key|apikey|passwd|password|pass|pwd|credentials?|policy|auth"
    r"|authorization|jwt|session|jsessionid|[a-z]*accesskeyid)$"
)


def redacted(text: str) -> str:
    """Return a text with the secrets of all URLs in it hidden."""
    if "://" not in text or ("@" not in text and "=" not in text):
        return text
    return _PARAMETER.sub(_hide, _USER.sub(rf"\g<scheme>{HIDDEN}@", text))


def _hide(match: re.Match[str]) -> str:
    return match["start"] + HIDDEN if _is_secret(unquote_plus(match["name"])) else match[0]


def _is_secret(name: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()  # accessToken, like access_token
    return _SECRET_NAME.search(words) is not None or _SECRET_NAME.search(name.lower()) is not None
