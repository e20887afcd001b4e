"""Lhotse Shar: cuts as lines of JSON, and tars with their recordings."""

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pipelines.export.base import Format
from pipelines.export.files import tar
from pipelines.export.names import archive_key
from pipelines.export.plan import Shard
from pipelines.export.utterances import Utterance
from pipelines.steps.shard import to_flac
from unitlang.frames import SAMPLE_RATE

Json = dict[str, Any]

PLACED = {"id", "text", "language", "speaker", "num_samples", "num_frames"}
"""Facts with a place of their own in a cut, or with the name of a property of cuts; the others are custom fields."""


class Shar(Format):
    """One folder a split, because lhotse takes every file of a folder for a part of the set."""

    name: ClassVar[str] = "shar"

    def paths(self, shard: Shard) -> list[str]:
        """See `Format.paths`."""
        return [f"{shard.split}/cuts.{shard.number:06d}.jsonl.gz", f"{shard.split}/recording.{shard.number:06d}.tar"]

    def write(self, drafts: Sequence[Path], utterances: Iterable[Utterance]) -> None:
        """See `Format.write`."""
        with (
            drafts[0].open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as cuts,
            tar(drafts[1]) as recordings,
        ):
            for utterance in utterances:
                cut = cut_of(utterance.facts)
                cuts.write(_line(cut))
                recordings.add(f"{cut['id']}.flac", to_flac(utterance.pcm))
                recordings.add(f"{cut['id']}.json", _line(cut["recording"]))


def cut_of(facts: Json) -> Json:
    """The cut of an utterance, as lhotse serialises it; its recording is a placeholder for the one in the tar."""
    key, samples = archive_key(facts["id"]), facts["num_samples"]
    place = {"start": 0, "duration": samples / SAMPLE_RATE, "channel": 0}
    known = {name: facts[name] for name in ("text", "language", "speaker") if facts[name] is not None}
    recording = {
        "id": key,
        "sources": [{"type": "shar", "channels": [0], "source": ""}],
        "sampling_rate": SAMPLE_RATE,
        "num_samples": samples,
        "duration": place["duration"],
        "channel_ids": [0],
    }
    return {
        "id": key,
        **place,
        "supervisions": [{"id": facts["id"], "recording_id": key, **place, **known}],
        "recording": recording,
        "custom": {name: value for name, value in facts.items() if name not in PLACED and value is not None},
        "type": "MonoCut",
    }


def _line(values: Json) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"
