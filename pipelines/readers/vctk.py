"""VCTK's layout: audio in `wav*/<speaker>/`, and texts in `txt/<speaker>/`."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal, cast

from pipelines.errors import UserError
from pipelines.readers.base import BadItem, Item, Reader
from pipelines.readers.folder import may_be_audio
from pipelines.readers.places import SPECIAL, Entry, Place
from pipelines.reading import read_ahead

AUDIO_NAME = re.compile(r"wav[^/]*/(?P<stem>(?P<speaker>[^/]+)/[^/]+?)(?P<microphone>_mic\d+)?\.[^./]+")
TEXT_NAME = re.compile(r"txt/(?P<stem>[^/]+/[^/]+)\.txt")


class VctkReader(Reader):
    """A copy of VCTK, or a corpus of the same layout.

    The text of `wav48/p225/p225_001.wav`, and of `wav48_silence_trimmed/p225/p225_001_mic1.flac`, is in
    `txt/p225/p225_001.txt`. A text without audio is a reject `missing`; audio without a text is an utterance without
    text. Utterance ids are `<dataset>/<name of the file, without extension>`.
    """

    kind: Literal["vctk"] = "vctk"
    """VCTK or a corpus of the same layout."""
    language: str | None = "en"
    """Language of every utterance of the source."""
    glob: str = "*"
    """Pattern that the path below the folder must match, e.g. `*_mic1.flac`; `*` also matches `/`."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the utterances in the order of their paths, then the texts without audio.

        Raises:
            UserError: the folder cannot be read or has another layout, or no audio file matches.
        """
        root = Place.of(self.path)
        entries = root.files()
        audio = [
            (entry, match) for entry in entries if may_be_audio(entry) and (match := AUDIO_NAME.fullmatch(entry.name))
        ]
        texts = {match["stem"]: entry for entry in entries if (match := TEXT_NAME.fullmatch(entry.name))}
        if not audio or not texts:
            raise UserError(f"{root.uri}: not VCTK's layout: audio in wav*/<speaker>/, and texts in txt/<speaker>/")
        chosen = [(entry, match) for entry, match in audio if fnmatchcase(entry.name, self.glob)]
        if not chosen:
            raise UserError(f"{root.uri}: no audio file below this folder matches {self.glob!r}")
        far = not root.local and any(text.stamp is None for text in texts.values())
        jobs = (partial(self._one, root, entry, match["speaker"], texts.get(match["stem"])) for entry, match in chosen)
        yield from read_ahead(jobs) if far else (job() for job in jobs)
        for stem in sorted(texts.keys() - {match["stem"] for _, match in audio}):
            source = root.child(texts[stem].name).uri
            yield self.bad(source, "missing", "there is no audio of this text", stem.rpartition("/")[2])

    def _one(self, root: Place, entry: Entry, speaker: str, text: Entry | None) -> Item | BadItem:
        place = root.child(entry.name)
        name = place.name.rpartition(".")[0]
        if entry.special:
            return self.bad(place.uri, "not_audio", SPECIAL, name)
        told = self.text_beside(root, text, name)
        if isinstance(told, BadItem):
            return told
        return Item(
            utterance_id=f"{self.dataset}/{name}",
            dataset=self.dataset,
            uri=place.uri,
            size=entry.size,
            stamp=entry.stamp,
            split=self.split,
            task=self.task,
            language=self.language,
            speaker_id=speaker,
            **cast(dict[str, Any], told),
        )
