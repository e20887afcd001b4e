"""A folder of audio files, each with its text beside it."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from itertools import starmap
from posixpath import splitext
from typing import Any, Literal, cast

from pipelines.errors import UserError
from pipelines.readers.base import BadItem, Item, Reader
from pipelines.readers.places import SPECIAL, Entry, Place
from pipelines.reading import read_ahead

NOT_AUDIO = frozenset(
    {
        ".txt",
        ".json",
        ".jsonl",
        ".csv",
        ".tsv",
        ".yaml",
        ".yml",
        ".toml",
        ".xml",
        ".html",
        ".md",
        ".rst",
        ".pdf",
    }
    | {
        ".lab",
        ".textgrid",
        ".ctm",
        ".srt",
        ".vtt",
        ".npy",
        ".npz",
        ".pt",
        ".parquet",
        ".arrow",
        ".log",
        ".py",
    }
    | {".sh", ".ipynb", ".jpg", ".jpeg", ".png", ".gif", ".svg", ".zip", ".gz", ".tar", ".bz2", ".xz"}
    | {".sha256", ".md5", ".phn", ".wrd"}
)
"""Extensions of other files that accompany speech; all remaining files are tried as audio."""
TEXT_ENDINGS = (".original.txt", ".normalized.txt", ".txt")
"""Endings of the text of `<stem>.<audio>`, in any case, the best one last; the longer ones are LibriTTS's."""
_TIMIT_SAMPLES = re.compile(r"\A\d+\s+\d+\s+")


class FolderReader(Reader):
    """Every audio file below a folder; the text is in `<same name>.txt` (UTF-8) if there is one.

    LibriTTS's `<same name>.normalized.txt` counts too, and `.TXT` where there is no `.txt`. In TIMIT, where
    `<same name>.PHN` is beside it, the text begins with two numbers of samples, which are left out.

    A file counts as audio unless its extension is that of another known kind; ingest rejects files that turn out not to
    be audio. Utterance ids are `<dataset>/<path below the folder, with extension>`.
    """

    kind: Literal["folder"] = "folder"
    """Folder of audio files with text beside them."""
    glob: str = "*"
    """Pattern that the path below the folder must match, e.g. `train/*.flac`; `*` also matches `/`."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the audio files in the order of their paths.

        Raises:
            UserError: the folder cannot be read, or no audio file matches.
        """
        root = Place.of(self.path)
        entries = root.files()
        split = [(entry, *splitext(entry.name)) for entry in entries]
        texts = _texts(entry for entry, _, ending in split if ending.lower() == ".txt")
        timit = {_composed(stem) for _, stem, ending in split if ending.lower() == ".phn"}
        chosen = [(entry, _composed(stem)) for entry, stem, end in split if self._is_wanted(entry, end)]
        if not chosen:
            raise UserError(f"{root.uri}: no audio file below this folder matches {self.glob!r}")
        rows = ((root, entry, texts.get(stem), stem in timit) for entry, stem in chosen)
        far = not root.local and (bool(timit) or any(beside.stamp is None for beside in texts.values()))
        yield from read_ahead(partial(self._one, *row) for row in rows) if far else starmap(self._one, rows)

    def _is_wanted(self, entry: Entry, ending: str) -> bool:
        return ending.lower() not in NOT_AUDIO and (self.glob == "*" or fnmatchcase(entry.name, self.glob))

    def _one(self, root: Place, entry: Entry, beside: Entry | None, timit: bool) -> Item | BadItem:
        if not _encodable(entry.name):
            shown = root.child(entry.name).path.encode(errors="surrogateescape").decode(errors="backslashreplace")
            return self.bad(shown, "bad_name", "the file name is not UTF-8; rename the file")
        uri = root.start + entry.name
        if entry.special:
            return self.bad(uri, "not_audio", SPECIAL, entry.name)
        told = self.text_beside(root, beside, entry.name, read=timit)
        if isinstance(told, BadItem):
            return told
        if timit:
            told = {"text": _TIMIT_SAMPLES.sub("", told.get("text") or "") or None}
        return Item(
            utterance_id=f"{self.dataset}/{entry.name}",
            dataset=self.dataset,
            uri=uri,
            size=entry.size,
            stamp=entry.stamp,
            split=self.split,
            task=self.task,
            language=self.language,
            **cast(dict[str, Any], told),
        )


def _texts(files: Iterable[Entry]) -> dict[str, Entry]:
    """Return the text files by the stem of their audio."""
    named: dict[str, Entry] = {}
    entries = list(files)
    for ending in TEXT_ENDINGS:
        found = [entry for entry in entries if entry.name.lower().endswith(ending)]
        for entry in sorted(found, key=lambda entry: entry.name.endswith(ending)):
            named[_composed(entry.name[: -len(ending)])] = entry
    return named


def _composed(stem: str) -> str:
    """Return the path of files without extension, accents in one form: two systems may have named text and audio."""
    return stem if stem.isascii() else unicodedata.normalize("NFC", stem)


def may_be_audio(entry: Entry) -> bool:
    """Return whether a file's extension is not one of `NOT_AUDIO`."""
    return splitext(entry.name)[1].lower() not in NOT_AUDIO


def _encodable(text: str) -> bool:
    """Return whether a file name can be stored as a string (names in other encodings contain lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
