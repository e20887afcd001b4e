"""Example of a new reader: it reads lines of `file<space>text`."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pipelines.readers.base import BadItem, Item, Reader, Reads


class WordlistReader(Reader):
    """A text file with one recording per line: its file name, a space, its text."""

    reads: ClassVar[Reads] = "file"

    kind: Literal["wordlist"] = "wordlist"
    """Lines of file and text."""

    def read(self) -> Iterator[Item | BadItem]:
        for number, line in enumerate(Path(self.path).read_text().splitlines(), 1):
            name, space, text = line.partition(" ")
            if not space:
                yield self.bad(f"{self.path}:{number}", "bad_row", "has no text behind the file's name")
                continue
            audio = Path(self.path).with_name(name)
            yield Item(utterance_id=f"{self.dataset}/{name}", dataset=self.dataset, uri=str(audio), text=text)
