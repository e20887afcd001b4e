"""Multilingual LibriSpeech's layout: <split>/transcripts.txt and <split>/audio/<speaker>/<book>/<id>.flac."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Literal

from pipelines.errors import UserError
from pipelines.readers.base import BadItem, Item, Reader
from pipelines.readers.lines import Line
from pipelines.readers.places import Entry, Place


class MlsReader(Reader):
    """A copy of Multilingual LibriSpeech, whole (`mls_english/`) or one split (`mls_english/dev/`).

    Split and speaker come from the path. A transcript line without its audio is a reject `missing`; audio without a
    transcript line is an utterance without text, listed last. Utterance ids are `<dataset>/<speaker>_<book>_<number>`.
    """

    kind: Literal["mls"] = "mls"
    """Multilingual LibriSpeech or a corpus of the same layout."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the utterances split by split, in the order of the transcripts.

        Raises:
            UserError: the folder cannot be read or has another layout.
        """
        root = Place.of(self.path)
        entries = root.files()
        transcripts = [entry for entry in entries if _is_transcripts(entry)]
        if not transcripts:
            raise UserError(f"{root.uri}: not Multilingual LibriSpeech's layout: no transcripts.txt in it or below")
        for entry in transcripts:
            prefix = f"{entry.name.removesuffix('transcripts.txt')}audio/"
            yield from self._split(root, entry, [e for e in entries if e.name.startswith(prefix)])

    def _split(self, root: Place, transcripts: Entry, audio: list[Entry]) -> Iterator[Item | BadItem]:
        place = root.child(transcripts.name)
        folder = transcripts.name.removesuffix("transcripts.txt")
        split = root.child(folder).name
        stems = [entry.name.rpartition(".")[0] for entry in audio]
        order = sorted(range(len(stems)), key=stems.__getitem__)
        stems.sort()
        seen = bytearray(len(stems))
        for line in self.lines_of(root, transcripts):
            if isinstance(line, BadItem):
                yield line
                continue
            if not line.fault and not line.text.strip():
                continue
            name, _, text = line.text.partition("\t")
            stem = f"{folder}audio/{'/'.join(name.split('_')[:2])}/{name}"
            position = bisect_left(stems, stem)
            found = position < len(stems) and stems[position] == stem
            if fault := _fault(line, name, found, bool(found and seen[position])):
                yield self.bad(f"{place.uri}:{line.number}", *fault, name or None)
                continue
            seen[position] = True
            yield self._item(root, split, audio[order[position]], text.strip() or None)
        for position, index in enumerate(order):
            if not seen[position]:
                yield self._item(root, split, audio[index], None)

    def _item(self, root: Place, split: str, entry: Entry, text: str | None) -> Item:
        name = entry.name.rpartition("/")[2].rpartition(".")[0]
        return Item(
            utterance_id=f"{self.dataset}/{name}",
            dataset=self.dataset,
            uri=root.child(entry.name).uri,
            size=entry.size,
            stamp=entry.stamp,
            split=split,
            task=self.task,
            language=self.language,
            speaker_id=name.partition("_")[0],
            text=text,
        )


def _is_transcripts(entry: Entry) -> bool:
    return entry.name.rpartition("/")[2] == "transcripts.txt"


def _fault(line: Line, name: str, found: bool, seen: bool) -> tuple[str, str] | None:
    """Return reason and message for a transcript line that becomes no utterance."""
    if line.fault:
        return "bad_text", line.fault
    if name.count("_") < 2:
        return "bad_row", "a line must read <speaker>_<book>_<number>, a tab, and the text"
    if not found:
        return "missing", f"there is no audio file for {name}"
    return ("bad_row", f"a second line for {name}") if seen else None
