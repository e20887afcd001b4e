"""Names of columns that say when, on which channel and what was said: the known ones, and those that only look so."""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

from pipelines.errors import UserError

Part = Literal["start", "end", "duration"]
Unit = Literal["seconds", "milliseconds", "samples"]

PARTS: Mapping[str, Part] = {
    **dict.fromkeys(("start", "begin", "beg", "onset", "starttime", "begintime", "xmin", "tmin"), "start"),
    **dict.fromkeys(("end", "stop", "endtime", "xmax", "tmax"), "end"),
    **dict.fromkeys(("duration", "dur"), "duration"),
}
UNITS: Mapping[str, Unit] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "seconds"),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), "milliseconds"),
    **dict.fromkeys(("sample", "samples"), "samples"),
}
FILLERS = frozenset(
    {"time", "timestamp", "ts", "in", "at"} | {"segment", "seg", "audio", "clip", "utt", "utterance", "speech"}
)
"""Words that a name of a time may also hold: `segment_start_time`."""
COUNTS = frozenset({("num", "samples"), ("n", "samples"), ("nsamples",)})
"""Names of a length in samples."""
TORCHAUDIO: Mapping[tuple[str, ...], Part] = {("frame", "offset"): "start", ("num", "frames"): "duration"}
"""torchaudio's names, whose frames are samples; `num_frames` counts only beside `frame_offset`."""

TIME_WORDS = (PARTS.keys() | UNITS.keys() | {"offset", "time", "times", "timestamp", "timestamps", "ts", "frames"}) - {
    "s",
    "sample",
}
NO_TIME = frozenset(
    {"id", "ids", "index", "idx", "rate", "score", "prob", "confidence", "version", "level"}
    | {"date", "created", "updated", "upload", "uploaded", "modified", "year"}
    | {"text", "char", "chars", "word", "words", "token", "tokens"}
)
CHANNEL = ("channel", "chan")
"""Names of the column of an utterance's channel. `ch` is none of them: many tables count channels in it."""
RENAME = "`channel` over it if it chooses one"
"""The remedy for a column that may choose a channel."""
CHANNEL_WORDS = frozenset({"channel", "channels", "chan", "ch"})
NO_CHANNEL = frozenset(["num", "n", "count", "number", "name", "url", "title", "type"])
SIDES = frozenset({"left", "right", "l", "r", "a", "b"})
TEXT_WORDS = frozenset(
    {"text", "texts", "sentence", "sentences", "utterance", "caption", "words", "script"}
    | {"transcript", "transcripts", "transcription"}
)
NO_TEXT = frozenset(
    {"id", "ids", "domain", "length", "len", "num", "count", "index", "idx", "number"}
    | {"lang", "language", "score", "type", "source", "hash", "wer", "cer", "url"}
)

ACCEPTED: Mapping[str, tuple[str, ...]] = {
    "licence": (
        *("licence", "license", "licence_name", "license_name", "licence_id", "license_id"),
        *("licence_type", "license_type", "rights", "licence_url", "license_url"),
    ),
    "attribution": ("attribution", "credit", "credits", "copyright"),
    "consent": ("consent", "consent_id"),
    "source_url": ("source_url", "original_url", "url"),
}
"""Names of columns of the facts about rights, best first."""
RIGHTS_WORDS: Mapping[str, frozenset[str]] = {
    "licence": frozenset({"licence", "license", "licences", "licenses", "licensing", "rights"}),
    "attribution": frozenset({"attribution", "copyright"}),
    "consent": frozenset({"consent"}),
}
RIGHTS_FILLERS = frozenset(
    {"cc", "creative", "commons", "spdx", "usage", "use", "audio", "data", "dataset", "recording", "speech", "speaker"}
    | {"voice", "content", "text", "title", "statement", "info", "code", "notice", "terms", "status", "given", "form"}
)
"""Words that a name of a licence, an attribution or a consent may also hold. Others make it something else: a licence
plate, human rights, a copyright year."""


@dataclass(frozen=True)
class Time:
    """Meaning of a column for a segment, and its unit."""

    part: Part
    unit: Unit


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: `startTime`, `Start Time` and `START_TIME` are (start, time)."""
    return tuple(re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()))


def spelled(accepted: Iterable[str], present: Iterable[str]) -> tuple[str, ...]:
    """Return the accepted names that are present; if none is, those that differ from one only in case or separators."""
    present = list(present)
    accepted = tuple(accepted)
    exact = tuple(name for name in accepted if name in present)
    if exact:
        return exact
    alike = {"_".join(words(name)): name for name in reversed(present)}
    return tuple(alike[name] for name in accepted if name in alike)


@lru_cache(maxsize=4096)
def time_of(name: str) -> Time | None:
    """Return what a column of a known name says of a segment; None if the name is not known."""
    found = words(name)
    if found in TORCHAUDIO:
        return Time(TORCHAUDIO[found], "samples")
    if found in COUNTS:
        return Time("duration", "samples")
    parts: list[Part] = [PARTS[word] for word in found if word in PARTS]
    if not parts and "offset" in found:
        parts = ["start"]
    units: list[Unit] = [UNITS[word] for word in found if word in UNITS]
    others = set(found) - PARTS.keys() - UNITS.keys() - FILLERS - {"offset"}
    if others or len(parts) != 1 or len(units) > 1:
        return None
    return Time(parts[0], units[0] if units else "seconds")


def time_columns(names: Iterable[str]) -> dict[str, Time]:
    """Return the columns of known names that say when, in their order."""
    known = {name: time for name in names if (time := time_of(name))}
    if not any(words(name) == ("frame", "offset") for name in known):
        return {name: time for name, time in known.items() if words(name) != ("num", "frames")}
    return known


class ColumnCheck:
    """Refuses columns that say when, on which channel or what was said, or with what rights, if they would be ignored.

    Args:
        uri: the source, for messages.
        texts: accepted names of the text.
        remedies: fields of the source that give the text's column a name; empty if it has none.
        named: names of columns that the config states; each must occur in a record.
    """

    def __init__(self, uri: str, texts: Iterable[str], remedies: str = "", named: Iterable[str | None] = ()) -> None:
        self.uri = uri
        self.texts = tuple(texts)
        self.remedies = remedies
        self.awaited = {name for name in named if name}
        self.passed: set[str] = set()
        self.first: tuple[str, ...] = ()

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Check the columns of a record.

        Raises:
            UserError: a column is not understood; the message names it and the remedy.
        """
        self.first = self.first or tuple(record)
        self.awaited.difference_update(record)
        for name in record.keys() - self.passed:
            if name in self.texts or not is_suspicious(name):
                self.passed.add(name)
            else:
                self._check(name, record)

    def _check(self, name: str, record: Mapping[str, Any]) -> None:
        value = record[name]
        known = time_columns(record)
        if name in known:
            return
        open_end = bool(known) and all(time.part == "start" for time in known.values())
        if (_time_like(name) or (_length_like(name) and open_end)) and _is_time(value):
            raise self._error(name, "looks like a time, and its meaning or unit is not known", "")
        if _channel_like(name) and is_channel(name, value) and name not in spelled(CHANNEL, record):
            raise self._error(name, f"looks like a channel, and none is called {', '.join(CHANNEL)}", RENAME)
        if _text_like(name) and isinstance(value, str) and value.strip() and not spelled(self.texts, record):
            raise self._error(name, f"looks like the text, and none is called {', '.join(self.texts)}", self.remedies)
        self._check_right(name, record)

    def rights(self, record: Mapping[str, Any]) -> None:
        """Check the fields of a record that holds others, such as a dialogue, for rights alone.

        Raises:
            UserError: as `__call__`.
        """
        for name in record.keys() - self.passed:
            self._check_right(name, record)

    def _check_right(self, name: str, record: Mapping[str, Any]) -> None:
        fact = rights_like(name)
        if fact and _says_something(record[name]) and not spelled(ACCEPTED[fact], record):
            raise self._error(name, f"looks like the {fact}, and none is called {', '.join(ACCEPTED[fact])}", "")

    def _error(self, name: str, fault: str, remedy: str) -> UserError:
        remedies = f"{remedy.format(name)}, or " if remedy else ""
        return UserError(
            f"{self.uri}: column {name!r} {fault}; write {remedies}`ignore_columns: [{name}]` in this source to go on "
            "without it"
        )

    def finish(self) -> None:
        """Check that the columns that the config names were seen, if anything was.

        Raises:
            UserError: one was not.
        """
        if self.awaited and self.first:
            raise UserError(f"{self.uri}: no column {min(self.awaited)!r}; there are {', '.join(self.first)}")


@lru_cache(maxsize=4096)
def is_suspicious(name: str) -> bool:
    """Return whether a name looks like a time, a channel, a text or a right; the values decide whether it is one."""
    likes = (_time_like, _length_like, _channel_like, _text_like, rights_like)
    return any(like(name) for like in likes)


@lru_cache(maxsize=4096)
def rights_like(name: str) -> str | None:
    """The fact about rights that a name looks like without being one of its known names; None if it looks like none."""
    found = set(words(name))
    facts = (fact for fact, known in RIGHTS_WORDS.items() if found & known and found <= known | RIGHTS_FILLERS)
    fact = next(facts, None)
    return None if fact is None or spelled(ACCEPTED[fact], [name]) else fact


def without(record: Mapping[str, Any], ignored: Container[str]) -> dict[str, Any]:
    """Return a record without the columns that the config ignores."""
    return {name: value for name, value in record.items() if name not in ignored}


def _time_like(name: str) -> bool:
    found = set(words(name))
    known = time_of(name) is not None and words(name) != ("num", "frames")
    return bool(found & TIME_WORDS) and not found & NO_TIME and not known


def _length_like(name: str) -> bool:
    """Return whether a name may be that of a length, which matters beside a start without an end."""
    found = set(words(name))
    return bool(found & {"length", "len"}) and not found - {"length", "len", "s"} - FILLERS


def _channel_like(name: str) -> bool:
    found = set(words(name))
    return bool(found & CHANNEL_WORDS) and not found & NO_CHANNEL


def _text_like(name: str) -> bool:
    found = set(words(name))
    return bool(found & TEXT_WORDS) and not found & NO_TEXT


def _says_something(value: Any) -> bool:
    return value not in (None, "", [], {}) and value == value and (not isinstance(value, str) or bool(value.strip()))


def _is_time(value: Any) -> bool:
    """Return whether a value is a number, a clock time, or a pair of numbers."""
    if isinstance(value, list | tuple):
        pair = cast("list[Any]", value)
        return len(pair) == 2 and all(_is_number(part) for part in pair)
    return _is_number(value) or (isinstance(value, str) and re.fullmatch(r"(\d+:)+\d+([.,]\d+)?", value) is not None)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number; NaN is not."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    try:
        return float(value) == float(value)
    except (ValueError, OverflowError):
        return False


def is_channel(name: str, value: Any) -> bool:
    """Return whether a value selects channels; a number called `channels` is their count."""
    if isinstance(value, list | tuple):
        return True
    counts = "channels" in words(name)
    return not isinstance(value, bool) and (
        (_is_number(value) and not counts) or (isinstance(value, str) and value.strip().lower() in SIDES)
    )
