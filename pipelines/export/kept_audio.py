"""Audio of utterances in the training shards of a version, for those whose source is gone."""

from array import array
from collections.abc import Collection
from hashlib import blake2b
from threading import Lock

import numpy as np
import pyarrow.compute as pc

from storage.store import Store
from storage.tables import num_row_groups, read_row_group
from storage.versions import Version

SPOKEN = ("s2t", "echo")
"""Training tables with audio; their examples have the ids of the utterances that are heard."""


class KeptAudio:
    """Audio of the training shards by utterance id; threads may share it.

    The index is made when it is needed first; it takes 12 bytes for each example.
    """

    def __init__(self, store: Store, version: Version) -> None:
        self._store = store
        self._version = version
        self._lock = Lock()
        self._places: list[tuple[str, int]] = []  # path and row group
        self._digests: np.ndarray | None = None
        self._of_digest = np.zeros(0, np.uint32)

    def flacs(self, names: Collection[str]) -> dict[str, bytes]:
        """FLAC of the utterances of these ids that the training shards hold; each part of a shard is read once.

        Raises:
            StorageError: a training shard cannot be read.
        """
        found: dict[str, bytes] = {}
        for path, group in self._places_of(names):
            missing = set(names) - set(found)
            rows = read_row_group(self._store, path, group, ["example_id", "audio"])
            rows = rows.filter(pc.field("example_id").isin(list(missing)))
            found.update(zip(rows["example_id"].to_pylist(), rows["audio"].to_pylist(), strict=True))
        return found

    def _places_of(self, names: Collection[str]) -> list[tuple[str, int]]:
        """Row groups that hold any of the ids, in the order of the shards."""
        with self._lock:
            digests = self._index() if self._digests is None else self._digests
        asked = np.array([_digest(name) for name in names], np.uint64)
        left, right = (np.searchsorted(digests, asked, side) for side in ("left", "right"))
        held = [self._of_digest[a:b] for a, b in zip(left, right, strict=True)]
        return [self._places[place] for place in np.unique(np.concatenate([np.zeros(0, np.uint32), *held]))]

    def _index(self) -> np.ndarray:
        digests, of_digest = array("Q"), array("I")
        for file in (file for table in SPOKEN for file in self._version.files(table)):
            for group in range(num_row_groups(self._store, file.path)):
                names = read_row_group(self._store, file.path, group, ["example_id"])["example_id"].to_pylist()
                digests.extend(map(_digest, names))
                of_digest.extend([len(self._places)] * len(names))
                self._places.append((file.path, group))
        order = np.argsort(np.frombuffer(digests, np.uint64), kind="stable") if digests else np.zeros(0, np.intp)
        self._of_digest = np.array(of_digest, np.uint32)[order]
        self._digests = np.array(digests, np.uint64)[order]
        return self._digests


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
