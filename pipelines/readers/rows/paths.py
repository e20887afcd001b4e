"""Paths of audio that a source states, and the files that they mean."""

from unicodedata import normalize

from pipelines.readers.places import Place


def locate(path: str, *folders: Place) -> tuple[Place, int | None]:
    r"""Return the file that a path means, and its size in bytes as `Place.size`.

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
    size = written.size()
    if not written.local or size is not None:
        return written, size
    others = ((folder, form) for form in _forms(path) for folder in folders if (folder, form) != (folders[0], path))
    places = (folder.join(form) for folder, form in others)
    return next(((place, size) for place in places if (size := place.size()) is not None), (written, None))


def _forms(path: str) -> tuple[str, ...]:
    """Return the path as it is written, and in other forms."""
    separators = (path, path.replace("\\", "/"))
    if path.isascii():
        return tuple(dict.fromkeys(separators))
    return tuple(dict.fromkeys(normalize(form, text) for text in separators for form in ("NFC", "NFD")))
