"""Paths of audio that a source states, and the files that they mean."""

import unicodedata
from collections.abc import Iterator

from pipelines.readers.places import Place


def locate(path: str, *folders: Place) -> Place:
    r"""Return the file that a path means.

    Where a local path does not exist as it is written below the first folder, the other folders count, the same
    characters in Unicode's other form (a Mac writes an accent after its letter), and `\` as `/`.

    Args:
        path: a URL, an absolute path, or a path relative to a folder.
        folders: the folders, at least one, best first.

    Returns:
        The first file that exists; the path below the first folder if none does, or if a request would be needed.

    Raises:
        UserError: as `Place.of`.
    """
    written = folders[0].join(path)
    if not written.local or written.size() is not None:
        return written
    places = (folder.join(form) for form in _forms(path) for folder in folders)
    return next((place for place in places if place.size() is not None), written)


def _forms(path: str) -> Iterator[str]:
    for form in dict.fromkeys((path, path.replace("\\", "/"))):
        yield form
        yield unicodedata.normalize("NFC", form)
        yield unicodedata.normalize("NFD", form)
