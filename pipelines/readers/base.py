"""What every reader yields and how one is configured.

A reader is one module of this package that defines one `Reader` subclass; it is found by itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from json import dumps
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import UserError
from pipelines.paths import ConfigPath

Task = Literal["asr", "tts", "sqa"]
"""What an utterance is for: asr = speech and its transcript, tts = text and its reading, sqa = a spoken dialogue."""
Reads = Literal["folder", "file", "file or folder", "file, folder or pattern"]
"""What the path of a source may be."""
DATASET_PATTERN = r"^[^/@\s]+$"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One utterance as its source describes it, before anything of the audio was read.

    Attributes:
        utterance_id: unique in the corpus; readers prefix it with the dataset (`<dataset>/<name in the dataset>`).
        dataset: the name under which statistics are kept.
        uri: absolute path or fsspec URL of the audio; `<parquet>#row=<n>&column=<name>` for audio inside a Parquet
            file; None for a dialogue turn that is only written.
        size: bytes of the audio file where listing tells it; part of the identity, so a replaced file is noticed.
        offset_samples: where the utterance starts in the file, in samples at 16 kHz.
        num_samples: its length in samples at 16 kHz; None = to the end of the file.
        text: what is said, as the source has it.
        dialogue_id: groups the turns of a dialogue; None for a single utterance.
        turn: position in the dialogue, from 0.
        role: `user` or `assistant` in a dialogue.
    """

    utterance_id: str
    dataset: str
    uri: str | None
    size: int | None = None
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

    def key(self) -> bytes:
        """16 bytes that change whenever anything about the item changes."""
        return digest16(dumps(asdict(self), sort_keys=True))


@dataclass(frozen=True, kw_only=True)
class BadItem:
    """An entry of a source that cannot become an utterance (a manifest line without a path, say).

    Attributes:
        source: where it stands, e.g. `train.tsv:17`.
        dataset: the name under which the reject is counted.
        reason: a stable code, `bad_row` unless a better one exists.
        message: what is wrong and what would be right.
        utterance_id: where it is known.
        dialogue_id: of the dialogue that it is a turn of, where that is known; it keeps the dialogue together.
    """

    source: str
    dataset: str
    reason: str
    message: str
    utterance_id: str | None = None
    dialogue_id: str | None = None

    def key(self) -> bytes:
        """16 bytes that change whenever the entry or what is wrong with it changes."""
        return digest16(dumps(asdict(self), sort_keys=True))


def digest16(text: str) -> bytes:
    """A 16-byte digest of a string."""
    return blake2b(text.encode(), digest_size=16).digest()


class Reader(BaseModel, ABC):
    """A source of speech: its configuration and how to list it.

    Subclasses set `kind: Literal["..."]` and `reads`, and implement `read`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    reads: ClassVar[Reads] = "folder"

    path: ConfigPath = Field(min_length=1)
    """Folder, file or URL of the source; a relative path is relative to the config file."""
    dataset: str = Field(min_length=1, pattern=DATASET_PATTERN)
    """Name under which the statistics of this source are kept."""
    split: str | None = None
    """Split of every utterance of the source, unless the source itself tells."""
    task: Task = "asr"
    """What the speech is for: asr (speech and transcript), tts (text and its reading), sqa (spoken dialogue)."""
    language: str | None = None
    """Language of every utterance of the source, unless the source itself tells."""

    def bad(
        self, source: str, reason: str, message: str, name: str | None = None, *, dialogue: str | None = None
    ) -> BadItem:
        """An entry of this source that cannot become an utterance; `name` is its id within the dataset."""
        return BadItem(
            source=source,
            dataset=self.dataset,
            reason=reason,
            message=message,
            utterance_id=None if name is None else f"{self.dataset}/{name}",
            dialogue_id=dialogue,
        )

    @abstractmethod
    def read(self) -> Iterator[Item | BadItem]:
        """List the source in an order that depends on its contents alone.

        Raises:
            UserError: when the source as a whole cannot be read (absent, of another layout).
        """


def read_source(source: Reader, position: int) -> Iterator[Item | BadItem]:
    """`source.read()`, with errors that tell which of the config's sources it is.

    Raises:
        UserError: as `read`.
    """
    try:
        yield from source.read()
    except UserError as error:
        raise UserError(f"sources[{position}] ({source.dataset}): {error}") from error
