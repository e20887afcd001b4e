"""LJSpeech's layout: `metadata.csv` with `<id>|<text>|<normalized text>`, and `wavs/<id>.wav`."""

from collections.abc import Iterator
from posixpath import splitext
from typing import Literal

from pipelines.errors import UserError
from pipelines.readers.base import BadItem, Item, Reader
from pipelines.readers.folder import may_be_audio
from pipelines.readers.lines import Line
from pipelines.readers.places import SPECIAL, Entry, Place
from pipelines.readers.rows import fields


class LjspeechReader(Reader):
    """A copy of LJSpeech, or a corpus of the same layout.

    A line of `metadata.csv` reads `<id>|<text>` or `<id>|<text>|<normalized text>`, without header and quoting; the
    last text that is not empty counts. The audio is the file `wavs/<id>` with any extension; a line without it is a
    reject `missing`, and audio without a line is an utterance without text, listed last. Utterance ids are
    `<dataset>/<id>`.
    """

    kind: Literal["ljspeech"] = "ljspeech"
    """LJSpeech or a corpus of the same layout."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the utterances in the order of `metadata.csv`.

        Raises:
            UserError: the folder cannot be read or has another layout.
        """
        root = Place.of(self.path)
        listed = root.files()
        audio = {_stem(entry): entry for entry in reversed(listed) if _is_wav(entry)}
        table = next((entry for entry in listed if entry.name == "metadata.csv"), None)
        if not audio or table is None:
            raise UserError(f"{root.uri}: not LJSpeech's layout: metadata.csv, and audio in wavs/")
        told = set[str]()
        yield from self._lines(root, table, audio, told)
        for entry in listed:
            if _is_wav(entry) and audio[_stem(entry)] is not entry:
                fault = f"another file of this name is read: {audio[_stem(entry)].name}"
                yield self.bad(root.child(entry.name).uri, "duplicate_id", fault, _stem(entry))
            elif _is_wav(entry) and _stem(entry) not in told:
                yield self._one(root, entry, None)

    def _lines(self, root: Place, table: Entry, audio: dict[str, Entry], told: set[str]) -> Iterator[Item | BadItem]:
        """Yield the utterances of the lines, and add their names to `told`."""
        place = root.child(table.name)
        for line in self.lines_of(root, table):
            if isinstance(line, BadItem):
                yield line
                continue
            if not line.fault and not line.text.strip():
                continue
            name, text, fault = _parse(line)
            if not fault and name not in audio:
                fault = ("missing", f"there is no audio file wavs/{name}.*")
            if fault:
                yield self.bad(f"{place.uri}:{line.number}", *fault, name or None)
                continue
            told.add(name)
            yield self._one(root, audio[name], text)

    def _one(self, root: Place, entry: Entry, text: str | None) -> Item | BadItem:
        place, name = root.child(entry.name), _stem(entry)
        if entry.special:
            return self.bad(place.uri, "not_audio", SPECIAL, name)
        return Item(
            utterance_id=f"{self.dataset}/{name}",
            dataset=self.dataset,
            uri=place.uri,
            size=entry.size,
            stamp=entry.stamp,
            split=self.split,
            task=self.task,
            language=self.language,
            text=text,
        )


def _is_wav(entry: Entry) -> bool:
    return entry.name.startswith("wavs/") and may_be_audio(entry)


def _stem(entry: Entry) -> str:
    return splitext(entry.name.removeprefix("wavs/"))[0]


def _parse(line: Line) -> tuple[str, str | None, tuple[str, str] | None]:
    """Return name, text and fault (reason and message) of a line."""
    if line.fault:
        return "", None, ("bad_text", line.fault)
    name, *texts = (part.strip() for part in line.text.split("|"))
    if not name or len(texts) not in (1, 2):
        return name, None, ("bad_row", "a line must read <id>|<text> or <id>|<text>|<normalized text>")
    try:
        return name, fields.check_text("text", next(filter(None, reversed(texts)), "")) or None, None
    except ValueError as error:
        return name, None, ("bad_text", str(error))
