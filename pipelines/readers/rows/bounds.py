"""The bounds of a confined source: what its rows, links and paths must not leave."""

import os
import posixpath
from collections.abc import Iterable
from functools import cache

from pipelines.errors import UserError
from pipelines.readers.parquet_audio import parquet_file
from pipelines.readers.places import Place
from unitlang.audio.confinement import origin
from unitlang.audio.remote import is_http


def is_inside(uri: str, roots: Iterable[str]) -> bool:
    """Whether a file lies below one of several folders, links resolved, or on the server of one of them.

    Args:
        uri: absolute path or URL of a file, or of a row of a Parquet file.
        roots: paths or URLs of folders, files or patterns; of a file or pattern, its folder counts.

    Raises:
        UserError, Unreachable: a root cannot be read.
    """
    folders = [_folder(root) for root in roots]
    try:
        anchor = _anchor(Place.of(parquet_file(uri) or uri))
    except UserError:  # no file system knows such a URL
        return False
    return any(anchor == folder or anchor.startswith(folder.rstrip("/") + "/") for folder in folders)


@cache
def _folder(root: str) -> str:
    place = Place.of(root)
    return _anchor(place if is_http(place.path) or place.is_folder() else place.parent)


def _anchor(place: Place) -> str:
    """The path without links on a local disk, the server of an HTTP URL, the full normal URL elsewhere."""
    if place.local:
        return os.path.realpath(place.path)
    if is_http(place.path):
        return origin(place.path)
    scheme, _, below = place.uri.partition("://")
    return f"{scheme}://{posixpath.normpath(below)}"
