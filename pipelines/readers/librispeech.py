"""LibriSpeech's layout: `<split>/<speaker>/<chapter>/` with audio files and one transcript."""

import re
from collections.abc import Iterator
from functools import partial
from itertools import chain, groupby
from typing import Literal

from pipelines.errors import UserError
from pipelines.readers.base import BadItem, Item, Reader
from pipelines.readers.places import Entry, Place
from pipelines.reading import read_ahead

AUDIO_NAME = re.compile(r"(?:.*/)?(\d+)/(\d+)/(\1-\2-\d+)\.(?!txt$)\w+")
TRANSCRIPT_NAME = re.compile(r"(?:.*/)?(\d+)/(\d+)/(\1-\2)\.trans\.txt")


class LibrispeechReader(Reader):
    """A copy of LibriSpeech, whole (`LibriSpeech/`) or one split (`LibriSpeech/dev-clean/`).

    Split and speaker come from the path `<split>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`; the texts are
    in `<speaker>-<chapter>.trans.txt` beside it. A transcript line without its audio is a reject `missing`; audio
    without a line is an utterance without text. Utterance ids are `<dataset>/<speaker>-<chapter>-<number>`.
    """

    kind: Literal["librispeech"] = "librispeech"
    """LibriSpeech or a corpus of the same layout."""
    language: str | None = "en"
    """Language of every utterance of the source."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the utterances chapter by chapter, in the order of their paths.

        Raises:
            UserError: the folder cannot be read or has another layout.
        """
        root = Place.of(self.path)
        entries = [e for e in root.files() if AUDIO_NAME.fullmatch(e.name) or TRANSCRIPT_NAME.fullmatch(e.name)]
        if not entries:
            raise UserError(
                f"{root.uri}: not LibriSpeech's layout "
                "(<split>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac); "
                "any other folder of audio files is kind: folder"
            )
        chapters = groupby(entries, key=lambda entry: entry.name.rpartition("/")[0])
        jobs = (partial(self._listed, root, chapter, list(files)) for chapter, files in chapters)
        yield from chain.from_iterable((job() for job in jobs) if root.local else read_ahead(jobs))

    def _listed(self, root: Place, chapter: str, files: list[Entry]) -> list[Item | BadItem]:
        return list(self._chapter(root, chapter, files))

    def _chapter(self, root: Place, chapter: str, files: list[Entry]) -> Iterator[Item | BadItem]:
        folders = f"{root.name}/{chapter}".split("/")
        split = folders[-3] if len(folders) > 2 else self.split
        texts: dict[str, str] = {}
        for transcript in (entry for entry in files if TRANSCRIPT_NAME.fullmatch(entry.name)):
            yield from self._transcripts(root, transcript, texts)
        for entry in files:
            if match := AUDIO_NAME.fullmatch(entry.name):
                yield Item(
                    utterance_id=f"{self.dataset}/{match[3]}",
                    dataset=self.dataset,
                    uri=root.child(entry.name).uri,
                    size=entry.size,
                    stamp=entry.stamp,
                    split=split,
                    task=self.task,
                    language=self.language,
                    speaker_id=match[1],
                    text=texts.pop(match[3], None),
                )
        for name in texts:
            source = root.child(f"{chapter}/{name}.flac").uri
            yield self.bad(source, "missing", "the transcript has this line, but there is no such file", name)

    def _transcripts(self, root: Place, transcript: Entry, texts: dict[str, str]) -> Iterator[BadItem]:
        """Fill `texts` (id -> text) from a chapter's transcript; yield faulty and repeated lines."""
        for line in self.lines_of(root, transcript):
            if isinstance(line, BadItem):
                yield line
                continue
            source = f"{root.child(transcript.name).uri}:{line.number}"
            name, _, text = line.text.partition(" ")
            if line.fault:
                yield self.bad(source, "bad_text", line.fault)
            if name in texts:
                yield self.bad(source, "duplicate_id", "an earlier line has this id; the text of this one counts", name)
            if name:
                texts[name] = text.strip()
