"""Base class of readers and the items that they yield.

A reader is one module of this package that defines one `Reader` subclass; its presence registers it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import blake2b
from json import dumps
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field

from pipelines.engine.step import ADDED
from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers.lines import Line, check_length, read_lines, read_text, unusable_text
from pipelines.readers.places import LEADS_OUT, SPECIAL, Entry, LedOutError, Place
from pipelines.readers.rows.bounds import is_inside
from pipelines.readers.rows.names import ACCEPTED
from unitlang.audio.confinement import confine, origin
from unitlang.audio.remote import is_http
from unitlang.config import FrozenConfig
from unitlang.errors import Unreachable
from unitlang.printing import shown
from unitlang.urls import redacted

Task = Literal["asr", "tts", "sqa"]
"""Task of an utterance: asr = speech and its transcript, tts = text and its reading, sqa = a spoken dialogue."""
Gone = Literal["keep", "remove", "fail"]
"""Treatment of entries that are not listed any more."""
Reads = Literal["folder", "file", "file or folder", "file, folder or pattern"]
"""Kinds of paths that a source may have."""
Told = Mapping[str, str | None]
"""Values of some attributes of an `Item`."""
R = TypeVar("R")
DATASET_PATTERN = r"^[^/@\s]+$"


def _check_dataset(name: str) -> str:
    if re.match(DATASET_PATTERN, name):
        return name
    raise ValueError("must hold no '/', '@' or white space")


DatasetName = Annotated[
    str, Field(min_length=1, json_schema_extra={"pattern": DATASET_PATTERN}), AfterValidator(_check_dataset)
]
"""Name of a source in statistics and utterance ids."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One utterance as its source describes it; nothing of the audio has been read.

    Attributes:
        utterance_id: unique in the corpus; readers prefix it with the dataset (`<dataset>/<name in the dataset>`).
        dataset: name of the dataset in statistics.
        uri: absolute path or fsspec URL of the audio; `<parquet>#row=<n>&column=<name>` for audio inside a Parquet
            file; None for a written dialogue turn.
        size: bytes of the audio file if the listing states them; part of the identity, so a replaced file is noticed.
        stamp: what the listing says of the contents of the file, as `places.Entry`; no part of the identity.
        offset_samples: start of the utterance in the file, in samples at 16 kHz.
        num_samples: its length in samples at 16 kHz; None = to the end of the file.
        split: name of the split.
        task: see `Task`.
        language: language code as the source states it.
        speaker_id: id of the speaker as the source states it.
        text: transcript, as the source states it.
        dialogue_id: groups the turns of a dialogue; None for a single utterance.
        turn: position in the dialogue, from 0.
        role: `user` or `assistant` in a dialogue.
        native: offset_samples and num_samples count at the file's own rate, which ingest reads, instead of 16 kHz.
        channel: channel of the audio, from 0; `each` = one utterance for every channel; None = all, mixed.
        licence: licence of the recording, as the source states it.
        attribution: whom the licence wants named.
        consent: what is known of the speaker's consent.
        source_url: where the recording was published.
        text_file: URL of a file that holds the text, which `ingest` reads; `text` is None then.
        text_stamp: what the listing says of the contents of that file: size and stamp.
        place: position in a dialogue whose source numbers no turns, from 0; stated only where entries before this one
            were left out, so that it does not move up.
    """

    utterance_id: str
    dataset: str
    uri: str | None
    size: int | None = None
    stamp: str | None = None
    offset_samples: int = 0
    num_samples: int | None = None
    split: str | None = None
    task: Task = "asr"
    language: str | None = None
    speaker_id: str | None = None
    text: str | None = None
    dialogue_id: str | None = None
    turn: int | None = None
    role: str | None = None
    native: bool = field(default=False, metadata=ADDED)
    channel: int | Literal["each"] | None = field(default=None, metadata=ADDED)
    licence: str | None = field(default=None, metadata=ADDED)
    attribution: str | None = field(default=None, metadata=ADDED)
    consent: str | None = field(default=None, metadata=ADDED)
    source_url: str | None = field(default=None, metadata=ADDED)
    text_file: str | None = field(default=None, metadata=ADDED)
    text_stamp: str | None = field(default=None, metadata=ADDED)
    place: int | None = field(default=None, metadata=ADDED)

    def key(self) -> bytes:
        """16 bytes that change whenever anything about the item changes."""
        return digest16(dumps(self.stated(), sort_keys=True))

    def stated(self) -> dict[str, Any]:
        """The attributes by name, without the stamp and those added to the class later that are at their default."""
        values = {name: getattr(self, name) for name in _STATED}
        for name, default in _ADDED.items():
            if (value := getattr(self, name)) != default:
                values[name] = value
        return values


_ADDED = {field.name: field.default for field in fields(Item) if dict(field.metadata) == ADDED}
_STATED = [field.name for field in fields(Item) if field.name not in (*_ADDED, "stamp")]
"""Read once: a listing asks for the values of each of its entries several times."""


@dataclass(frozen=True, kw_only=True)
class BadItem:
    """An entry of a source that cannot become an utterance (for instance a manifest line without a path).

    Attributes:
        source: position of the entry, e.g. `train.tsv:17`.
        dataset: name of the dataset in the counts of rejects.
        reason: a stable code, `bad_row` unless a better one exists.
        message: the fault, and the correct form.
        utterance_id: the id, if known.
        dialogue_id: the dialogue of a turn, if known; it keeps the dialogue together.
    """

    source: str
    dataset: str
    reason: str
    message: str
    utterance_id: str | None = None
    dialogue_id: str | None = None

    def key(self) -> bytes:
        """16 bytes that change whenever the entry or its fault changes."""
        return digest16(dumps(self.stated(), sort_keys=True))

    def stated(self) -> dict[str, Any]:
        """The attributes by name."""
        return asdict(self)


def digest16(text: str) -> bytes:
    """Return a 16-byte digest of a string."""
    return blake2b(text.encode(), digest_size=16).digest()


class Reader(FrozenConfig, ABC):
    """A source of speech: its configuration and its listing.

    Subclasses set `kind: Literal["..."]` and `reads`, and implement `read`.
    """

    reads: ClassVar[Reads] = "folder"

    path: ConfigPath = Field(min_length=1)
    """Folder, file or URL of the source; a relative path is relative to the config file."""
    dataset: DatasetName
    """Name of the source in statistics and utterance ids."""
    split: str | None = None
    """Split of every utterance, unless the source states it."""
    task: Task = "asr"
    """Task of the utterances: asr (speech and transcript), tts (text and its reading), sqa (spoken dialogue)."""
    language: str | None = None
    """Language of every utterance, unless the source states it."""
    channel: Annotated[int, Field(ge=0)] | Literal["mix", "each"] = "mix"
    """Channel of every utterance from 0, `mix` of all, or `each` as an utterance; unless the source states one."""
    licence: Annotated[str, Field(min_length=1)] | None = None
    """Licence of every utterance, unless the source states it."""
    attribution: Annotated[str, Field(min_length=1)] | None = None
    """Whom the licence of every utterance wants named, unless the source states it."""
    consent: Annotated[str, Field(min_length=1)] | None = None
    """Statement about the consent of every speaker, unless the source states it."""
    source_url: Annotated[str, Field(min_length=1)] | None = None
    """Where every utterance was published, unless the source states it."""
    confine: bool = False
    """Read only what lies below the source's folder or `audio_dir`, links resolved, or on the same server."""
    gone: Gone = "keep"
    """Entries of the corpus that the source does not list any more: `keep` them, `remove` them, or `fail`."""

    renamed_from: DatasetName | None = None
    """Name that `dataset` had in the corpus so far; its entries get the new name, and no audio is decoded."""

    def root(self) -> str:
        """Folder or URL that the audio lies below, without a slash at its end; paths in the corpus start from it.

        Raises:
            UserError: no file system understands the URL of the source.
            Unreachable: its server does not answer.
        """
        place = Place.of(getattr(self, "audio_dir", None) or self.path)
        folder = place if self.reads == "folder" or place.is_folder() else place.parent
        return folder.uri.rstrip("/")

    def confined_servers(self) -> set[str]:
        """Origins of the servers that must not lead elsewhere: those of a confined source."""
        places = (self.path, getattr(self, "audio_dir", None)) if self.confine else ()
        return {origin(Place.of(place).path) for place in places if place and is_http(place)}

    def rights(self) -> dict[str, str]:
        """The facts about rights that the config states for every utterance, by name."""
        told = {name: getattr(self, name) for name in ACCEPTED}
        return {name: value for name, value in told.items() if value is not None}

    def bad(
        self, source: str, reason: str, message: str, name: str | None = None, *, dialogue: str | None = None
    ) -> BadItem:
        """Return an entry of this source that cannot become an utterance.

        Args:
            source: position of the entry, e.g. `train.tsv:17`.
            reason: a stable code.
            message: the fault, and the correct form.
            name: id of the utterance within the dataset, if known.
            dialogue: id of its dialogue, if known.
        """
        return BadItem(
            source=source,
            dataset=self.dataset,
            reason=reason,
            message=message,
            utterance_id=None if name is None else f"{self.dataset}/{name}",
            dialogue_id=dialogue,
        )

    def outside(self, uri: str) -> bool:
        """Whether a file lies outside the bounds of this source; no for every file unless it is confined."""
        if not self.confine:
            return False
        roots = (self.path, getattr(self, "audio_dir", None))  # which some kinds have
        return not is_inside(uri, [root for root in roots if root])

    def inner(self, rows: Iterable[tuple[R, str | None]]) -> Iterator[tuple[R, str | None]]:
        """Yield rows with the URI of their audio, or None in its place if it lies outside."""
        return ((row, None if uri is None or self.outside(uri) else uri) for row, uri in rows)

    def text_beside(self, root: Place, entry: Entry | None, name: str, *, read: bool = False) -> Told | BadItem:
        """The text of one utterance by the names of `Item`'s attributes, or where it lies.

        A file whose listing tells whether it was written again, as in a bucket, is not read here: the workers of
        `ingest` read it.

        Args:
            root: the source's folder.
            entry: the file of the text; None = there is none.
            name: id of the utterance within the dataset.
            read: read it here in any case.
        """
        if entry is None:
            return {}
        uri = root.start + entry.name
        if root.leads_out(entry, folders=self.confine):
            return self.bad(uri, "outside", LEADS_OUT, name)
        try:
            check_length(entry.size or 0)
            if entry.stamp is not None and not read:
                return {"text_file": uri, "text_stamp": f"{entry.size} {entry.stamp}"}
            return {"text": read_text(root.child(entry.name)) or None}
        except LedOutError as error:
            return self.bad(uri, "outside", str(error), name)
        except ValueError as error:
            return self.bad(uri, *unusable_text(error), name)

    def lines_of(self, root: Place, entry: Entry) -> Iterator[Line | BadItem]:
        """Yield the lines of a file with the texts of many utterances, or why it is not read.

        Args:
            root: the source's folder.
            entry: the file.
        """
        place = root.child(entry.name)
        if root.leads_out(entry, folders=self.confine):
            yield self.bad(place.uri, "outside", LEADS_OUT)
        elif entry.special:
            yield self.bad(place.uri, "bad_text", SPECIAL)
        else:
            try:
                yield from read_lines(place)
            except LedOutError as error:
                yield self.bad(place.uri, "outside", str(error))
            except UserError as error:
                yield self.bad(place.uri, "bad_text", f"the texts are unusable: {error}")

    @abstractmethod
    def read(self) -> Iterator[Item | BadItem]:
        """List the source in an order that depends only on its contents.

        Raises:
            UserError: the source as a whole cannot be read (missing, or of another layout).
            Unreachable: its server does not answer, even after retries.
        """


def _without_secrets(entry: Item | BadItem) -> Item | BadItem:
    """Return the entry, or a reject if a URL in it holds a secret, which the corpus would keep for everyone to read."""
    if isinstance(entry, BadItem):
        names = {name: redacted(text) for name, text in entry.stated().items() if text is not None}
        return replace(entry, **names)
    named = (entry.uri, entry.utterance_id, entry.dialogue_id, entry.speaker_id)
    if all(text is None or redacted(text) == text for text in named):
        return entry
    return BadItem(
        source=redacted(entry.uri or entry.utterance_id),
        dataset=entry.dataset,
        reason="secret_in_url",
        message="a URL holds a password, token or signature; copy the audio, or give passwords by ~/.netrc",
        utterance_id=redacted(entry.utterance_id),
        dialogue_id=entry.dialogue_id and redacted(entry.dialogue_id),
    )


def _within_bounds(source: Reader, entry: Item | BadItem) -> Item | BadItem:
    """Return the entry, or a reject if its audio lies outside the bounds of its source."""
    if isinstance(entry, BadItem) or entry.uri is None or not source.outside(entry.uri):
        return entry
    return BadItem(
        source=entry.uri,
        dataset=entry.dataset,
        reason="outside",
        message="`confine` is set, and this lies neither below the source's folder or audio_dir nor on its server",
        utterance_id=entry.utterance_id,
        dialogue_id=entry.dialogue_id,
    )


def _completed(source: Reader, rights: Mapping[str, str], entry: Item | BadItem) -> Item | BadItem:
    """Return the entry with what its source says of all utterances where it says nothing itself."""
    if isinstance(entry, BadItem):
        return entry
    told: dict[str, Any] = {name: value for name, value in rights.items() if getattr(entry, name) is None}
    if source.channel != "mix" and entry.uri is not None and entry.channel is None:
        told["channel"] = source.channel
    return replace(entry, **told) if told else entry


def read_source(source: Reader, position: int) -> Iterator[Item | BadItem]:
    """Yield from `source.read()`, with the source's channel and rights; errors name its position in the config.

    Raises:
        UserError, Unreachable: as `read`.
    """
    rights = source.rights()
    confine(source.confined_servers(), more=True)
    try:
        for found in source.read():
            yield _completed(source, rights, _within_bounds(source, _without_secrets(found)))
    except (UserError, Unreachable) as error:
        kind = Unreachable if isinstance(error, Unreachable) else UserError
        raise kind(shown(f"sources[{position}] ({source.dataset}): {error}")) from error
