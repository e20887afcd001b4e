"""Bring together the segments of each audio file, in their order, so that it is read once for a work unit.

Most sources list them so. Others are shuffled: then each work unit of `ingest` would open nearly every file.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from pipelines.readers.base import digest16
from pipelines.sources.holdings import Lines


def gathered(groups: Iterable[Lines]) -> Iterator[Lines]:
    """Yield the groups in their order, until a file comes again after others: then the rest, file by file.

    The rest is kept in a temporary file; memory holds 24 bytes for each group of it.
    """
    groups, begun, latest = iter(groups), set[bytes](), b""
    for group in groups:
        name, offset = _place(group)
        if offset and name != latest and name in begun:
            yield from _by_file([group], groups)
            return
        if offset:
            begun.add(name)
        latest = name
        yield group


def _by_file(*parts: Iterable[Lines]) -> Iterator[Lines]:
    """Yield groups by the file of their first entry, in the order in which the files come, and by its segments."""
    ranks: dict[bytes, int] = {}
    places = array("q")  # rank of the file, offset of the segment, and where the group is kept, of each group
    with TemporaryFile() as kept:
        for group in (group for part in parts for group in part):
            name, offset = _place(group)
            places.extend((ranks.setdefault(name, len(ranks)), offset, kept.tell()))
            kept.write(json.dumps([group.lines, group.signatures, group.rights]).encode() + b"\n")
        rank_N, offset_N, at_N = np.frombuffer(places, np.int64).reshape(-1, 3).T
        for number in np.lexsort((offset_N, rank_N)):
            kept.seek(int(at_N[number]))
            yield _read(json.loads(kept.readline()))


def _read(values: list[Any]) -> Lines:
    lines, signatures, rights = values
    return Lines(lines, [None if pair is None else (pair[0], pair[1]) for pair in signatures], rights)


def _place(group: Lines) -> tuple[bytes, int]:
    """Digest of the file of the first entry of a group, and offset of its segment; a digest of its own without one."""
    item = json.loads(group.lines[0])["item"]
    if not item.get("uri"):
        return digest16(group.lines[0]), 0
    return digest16(item["uri"]), int(item.get("offset_samples", 0))
