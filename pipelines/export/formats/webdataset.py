"""WebDataset: tars of `KEY.flac` and `KEY.json`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from pipelines.export.base import Format
from pipelines.export.files import tar
from pipelines.export.names import archive_key
from pipelines.export.plan import Shard
from pipelines.export.utterances import Utterance
from pipelines.steps.shard import to_flac


class WebDataset(Format):
    """One tar a shard, `<split>-<number>.tar`; the JSON of an utterance holds all its facts, units and words."""

    name: ClassVar[str] = "webdataset"
    revision: ClassVar[int] = 2

    def paths(self, shard: Shard) -> list[str]:
        """See `Format.paths`."""
        return [f"{shard.split}-{shard.number:06d}.tar"]

    def write(self, drafts: Sequence[Path], utterances: Iterable[Utterance]) -> None:
        """See `Format.write`."""
        with tar(drafts[0]) as archive:
            for utterance in utterances:
                key = archive_key(utterance.facts["id"])
                archive.add(f"{key}.flac", to_flac(utterance.pcm))
                archive.add(f"{key}.json", json.dumps(utterance.facts, ensure_ascii=False).encode())
