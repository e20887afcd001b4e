"""Step 6: join, shuffle, balance: -> training/{s2t,t2c,echo}.

A shard takes a seeded, random choice of the new work units, a few hours in all, and shuffles their examples. Shards of
earlier versions are kept as they are, so new audio makes new shards only.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import soundfile
from numpy.typing import NDArray
from pydantic import Field

from pipelines.engine.step import Output, Payload, Step, Task
from pipelines.steps.audio_files import row_streams
from pipelines.steps.examples import Example, ExamplesConfig, Row, Turn, examples, unused_reasons
from pipelines.steps.ingest import WorkUnit, dialogues
from pipelines.steps.sample import priority
from storage.receipts import Receipt
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE

SPEED = 500.0
"""Rough seconds of audio that one core decodes and writes as FLAC in a second."""
FULL_SCALE = 32768
"""What FFmpeg divides 16-bit samples by, so that 16-bit speech comes back exactly."""


class ShardsConfig(ExamplesConfig):
    """How training shards are made."""

    hours: float = Field(default=4.0, gt=0, le=24, allow_inf_nan=False)
    """Audio behind one shard, in hours; a shard is made in memory (about 60 MB an hour)."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seeds which work units share a shard and the order inside it."""


@dataclass(frozen=True)
class Shard(Step):
    """Utterances and words of some work units -> one training file a stage.

    Attributes:
        config: values of `ShardsConfig`.
    """

    name: ClassVar[str] = "shard"
    revision: ClassVar[int] = 2
    config: dict[str, Any]

    def open(self, store: Store) -> Callable[[Payload], Output]:
        """See `Step.open`."""
        config = ShardsConfig.model_validate(self.config)
        return lambda payload: make_shard(store, payload["units"], config)


def plan(step: Shard, units: Sequence[WorkUnit], encoded: Sequence[Receipt]) -> Iterator[Task]:
    """Tasks for the new work units: random choices of about `hours` each."""
    config = ShardsConfig.model_validate(step.config)
    order = sorted(range(len(units)), key=lambda position: priority(config.seed, units[position].sha256))
    shards = max(1, round(sum(unit.seconds for unit in units) / 3600 / config.hours))
    for group in balance([(position, units[position].seconds) for position in order], shards):
        files = [(units[position], encoded[position].files[0]) for position in group]
        payload = {"units": [{"utterances": unit.path, "words": words.path} for unit, words in files]}
        yield step.task(
            [[unit.sha256, words.sha256] for unit, words in files],
            payload,
            sum(unit.seconds for unit, _ in files),
        )


def balance(sized: Iterable[tuple[int, float]], groups: int) -> list[list[int]]:
    """Deal things of known size into groups, each to the smallest group so far; empty groups are dropped."""
    totals = [0.0] * groups
    members: list[list[int]] = [[] for _ in range(groups)]
    for thing, size in sized:
        smallest = min(range(groups), key=totals.__getitem__)
        members[smallest].append(thing)
        totals[smallest] += size
    return [group for group in members if group]


@dataclass
class Draft:
    """The examples of a shard in the making, and what became of its utterances."""

    config: ShardsConfig
    examples: list[Example] = field(default_factory=list[Example])
    heard: dict[str, Row] = field(default_factory=dict[str, Row])
    rows: int = 0
    unused: Counter[str] = field(default_factory=Counter[str])

    def add(self, turns: Sequence[Turn]) -> None:
        """Take the examples of one dialogue or single utterance."""
        made = list(examples(turns, self.config))
        used = {name for example in made for name in example.used}
        self.examples += made
        self.heard |= {example.heard["utterance_id"]: example.heard for example in made if example.heard}
        self.rows += len(turns)
        self.unused.update(unused_reasons(turns, used, self.config).values())


def make_shard(store: Store, parts: Iterable[dict[str, str]], config: ShardsConfig) -> Output:
    """The examples of all stages, shuffled; utterances that no stage can use are counted with the reason."""
    draft = Draft(config)
    for part in parts:
        words = read_table(store, part["words"], ["utterance_id", "words", "num_frames"]).to_pylist()
        by_id = {row["utterance_id"]: row for row in words}
        for dialogue in dialogues(read_table(store, part["utterances"]).to_pylist()):
            draft.add([Turn.of(row, by_id) for row in dialogue])
    spoken = flacs(draft.heard.values())
    draft.examples.sort(key=lambda example: priority(config.seed, example.values["example_id"]))
    counts = Counter(example.stage for example in draft.examples)
    stats = {"examples": dict(sorted(counts.items())), "unused": dict(sorted(draft.unused.items()))}
    return Output(list(stage_tables(draft.examples, spoken)), draft.rows, draft.rows, stats=stats)


def stage_tables(made: Sequence[Example], spoken: Mapping[str, bytes]) -> Iterator[tuple[str, pa.Table]]:
    """The non-empty training tables; `spoken` has the audio of the examples that hold some."""
    for stage in ("s2t", "t2c", "echo"):
        rows: list[Row] = []
        for example in made:
            if example.stage == stage:
                audio = {"audio": spoken[example.heard["utterance_id"]]} if example.heard else {}
                rows.append(example.values | audio)
        if rows:
            yield stage, pa.Table.from_pylist(rows, SCHEMAS[stage])


def flacs(heard: Iterable[Row]) -> dict[str, bytes]:
    """The utterances as FLAC, by id; in the order of their files, so that each file is decoded once."""
    return {row["utterance_id"]: to_flac(np.concatenate(list(blocks))) for row, blocks in row_streams(heard)}


def to_flac(waveform_N: NDArray[np.float32]) -> bytes:
    """16-bit FLAC of a waveform of N samples at 16 kHz; what exceeds full scale is clipped."""
    pcm_N = np.clip(np.round(waveform_N * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, pcm_N, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


if __name__ == "__main__":
    from pipelines.main import run_step

    run_step("shard")
