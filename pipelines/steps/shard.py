"""Step 6: write the training tables: join utterances and words to examples, and shuffle them in balanced shards.

A shard holds the shuffled examples of a few hours of new work units, chosen at random with a seed. Shards of earlier
versions stay unchanged, so new audio only adds shards.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import soundfile
from numpy.typing import NDArray
from pydantic import Field

from pipelines.engine.build_step import Plan, TableStep
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.state import BuildState
from pipelines.engine.step import Output, Process, WorkUnit, noted
from pipelines.records import Receipts, ShardFiles, ShardPayload, SpokenRow, StepStatistics, UtteranceFile, WordsRow
from pipelines.steps.audio_files import place_of, row_streams
from pipelines.steps.examples import Example, ExamplesConfig, Turn, examples, unused_reasons
from pipelines.steps.ingest import dialogues
from pipelines.steps.sample import priority
from storage.receipts import Receipt
from storage.schemas import SCHEMAS, TRAINING
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE

SPEED = 500.0
"""Approximate seconds of audio that one core decodes and writes as FLAC per second."""
FULL_SCALE = 32768
"""Scale of 16-bit samples in FFmpeg, so that 16-bit speech is written back exactly."""


class ShardsConfig(ExamplesConfig):
    """Settings of the training shards."""

    hours: float = Field(default=4.0, gt=0, le=24, allow_inf_nan=False)
    """Source audio of one shard, in hours; a shard is made in memory (about 60 MB per hour)."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the choice of work units for each shard, and of the order inside it."""


@dataclass(frozen=True)
class Shard(TableStep[ShardPayload]):
    """Step from the utterances and words of some work units to one file of each training table.

    Attributes:
        config: JSON values of `ShardsConfig`.
    """

    name: ClassVar[str] = "shard"
    revision: ClassVar[int] = 2
    after: ClassVar[tuple[str, ...]] = ("encode",)
    tables: ClassVar[tuple[str, ...]] = TRAINING
    config: dict[str, Any]

    @classmethod
    def plan(cls, build: BuildState) -> Plan:
        """See `TableStep.plan`; work units that shards of the parent version hold are skipped."""
        step = cls(build.config.shards.model_dump(mode="json"))
        language = build.artifacts["unit_language"].fingerprint
        _, revision, values = step.identity()
        same = build.matches_parent(cls.name, fingerprint(build.specs["ingest"], revision, values, language))
        kept, done = _kept(build) if same else ((), 0)
        work_units = list(plan(step, build.utterance_files[done:], build.steps["encode"][done:]))
        return Plan(step, work_units, SPEED, kept=kept)

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        """See `TableStep.expected_rows`."""
        return sum(receipt.rows_out for receipt in steps["ingest"])

    def open(self, store: Store) -> Process[ShardPayload]:
        """See `Step.open`."""
        config = ShardsConfig.model_validate(self.config)
        return lambda payload: make_shard(store, payload["units"], config)


def _kept(build: BuildState) -> tuple[Sequence[Receipt], int]:
    """Shards of the parent version that are still valid, and the number of work units in them."""
    encoded = build.parent_receipts("encode")
    unchanged = list(encoded) == build.steps["encode"][: len(encoded)]
    return (build.parent_receipts("shard"), len(encoded)) if unchanged else ((), 0)


def plan(step: Shard, files: Sequence[UtteranceFile], encoded: Sequence[Receipt]) -> Iterator[WorkUnit[ShardPayload]]:
    """Yield one work unit for each shard of new utterances and their words: random choices of about `hours` each.

    Args:
        step: the configured step.
        files: files of the new utterances.
        encoded: receipts of `encode` for these files, in the same order.
    """
    config = ShardsConfig.model_validate(step.config)
    order = sorted(range(len(files)), key=lambda position: priority(config.seed, files[position].sha256))
    shards = max(1, round(sum(file.seconds for file in files) / 3600 / config.hours))
    for group in balance([(position, files[position].seconds) for position in order], shards):
        pairs = [(files[position], encoded[position].files[0]) for position in group]
        payload = ShardPayload(units=[ShardFiles(utterances=file.path, words=words.path) for file, words in pairs])
        seconds = sum(file.seconds for file, _ in pairs)
        yield step.work_unit([[file.sha256, words.sha256] for file, words in pairs], payload, seconds)


def balance(sized: Iterable[tuple[int, float]], groups: int) -> list[list[int]]:
    """Put each thing into the group that is smallest so far; drop empty groups.

    Args:
        sized: things with their sizes.
        groups: largest number of groups.
    """
    totals = [0.0] * groups
    members: list[list[int]] = [[] for _ in range(groups)]
    for thing, size in sized:
        smallest = min(range(groups), key=totals.__getitem__)
        members[smallest].append(thing)
        totals[smallest] += size
    return [group for group in members if group]


@dataclass
class Draft:
    """The examples of an unfinished shard.

    Attributes:
        config: selection of the examples.
        examples: the examples so far.
        heard: utterances that are speech input of an example, by id.
        rows: number of utterances so far.
        unused: number of utterances in no example, by reason.
    """

    config: ShardsConfig
    examples: list[Example] = field(default_factory=list[Example])
    heard: dict[str, SpokenRow] = field(default_factory=dict[str, SpokenRow])
    rows: int = 0
    unused: Counter[str] = field(default_factory=Counter[str])

    def add(self, turns: Sequence[Turn]) -> None:
        """Add the examples of one dialogue or single utterance."""
        made = list(examples(turns, self.config))
        used = {name for example in made for name in example.used}
        self.examples += made
        self.heard |= {example.heard["utterance_id"]: example.heard for example in made if example.heard}
        self.rows += len(turns)
        self.unused.update(unused_reasons(turns, used, self.config).values())


def make_shard(store: Store, parts: Iterable[ShardFiles], config: ShardsConfig) -> Output:
    """Make the shuffled examples of all stages; count the unused utterances by reason.

    Args:
        store: the corpus.
        parts: files of utterances and words, one pair for each work unit in the shard.
        config: settings of the shards.

    Raises:
        StorageError: a file of the store cannot be read.
        UserError: an audio file is missing or changed since it was ingested.
        AudioError: audio that `quantize` could decode cannot be decoded any more.
    """
    draft = Draft(config)
    for part in parts:
        words: list[WordsRow] = read_table(store, part["words"], [*WordsRow.__annotations__]).to_pylist()
        by_id = {row["utterance_id"]: row for row in words}
        for dialogue in dialogues(read_table(store, part["utterances"]).to_pylist()):
            draft.add([Turn.of(row, by_id) for row in dialogue])
    spoken = flacs(draft.heard.values())
    draft.examples.sort(key=lambda example: priority(config.seed, example.values["example_id"]))
    counts = Counter(example.stage for example in draft.examples)
    stats = StepStatistics(examples=dict(sorted(counts.items())), unused=dict(sorted(draft.unused.items())))
    return Output(list(stage_tables(draft.examples, spoken)), draft.rows, draft.rows, stats=stats)


def stage_tables(made: Iterable[Example], spoken: Mapping[str, bytes]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the training tables that have rows.

    Args:
        made: the examples of all stages.
        spoken: FLAC of the speech inputs by utterance id.

    Raises:
        KeyError: the stage of an example has no training table.
    """
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in TRAINING}
    for example in made:
        audio = {"audio": spoken[example.heard["utterance_id"]]} if example.heard else {}
        rows[example.stage].append(example.values | audio)
    for table, of_stage in rows.items():
        if of_stage:
            yield table, pa.Table.from_pylist(of_stage, SCHEMAS[table])


def flacs(heard: Iterable[SpokenRow]) -> dict[str, bytes]:
    """Encode utterances as FLAC, by id; those of one file must be consecutive, so that it is decoded once.

    Raises:
        UserError: a file is missing or changed since it was ingested.
        AudioError: a file cannot be decoded.
    """
    encoded: dict[str, bytes] = {}
    for row, blocks in row_streams(heard):
        with noted(place_of(row)):
            encoded[row["utterance_id"]] = to_flac(map(to_pcm, blocks))
    return encoded


def to_pcm(waveform_N: NDArray[np.float32]) -> NDArray[np.int16]:
    """16-bit samples of a waveform of N samples; values beyond full scale are clipped."""
    return np.clip(np.round(waveform_N * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def to_flac(blocks: Iterable[NDArray[np.int16]]) -> bytes:
    """FLAC of consecutive blocks pcm_N at 16 kHz; the bytes do not depend on where the blocks end."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, channels=1, format="FLAC", subtype="PCM_16") as flac:
        for pcm_N in blocks:
            flac.write(pcm_N)
    return file.getvalue()
