"""Step 6: write the training tables: join utterances and words to examples, and shuffle them in balanced shards.

A shard holds the shuffled examples of a few hours of new work units, chosen at random with a seed. Shards of earlier
versions stay while the work units in them stay, so new audio only adds shards. A shard that is made again takes its
FLAC from the earlier ones, so the source's audio is not needed.
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
from pipelines.records import (
    Receipts,
    ShardFiles,
    ShardPayload,
    Spoken,
    SpokenRow,
    StepStatistics,
    UtteranceFile,
    WordsRow,
    statistics_of,
    utterance_files,
)
from pipelines.steps.audio_files import place_of, row_streams
from pipelines.steps.examples import Example, ExamplesConfig, Turn, examples, unused_reasons
from pipelines.steps.ingest import dialogues
from pipelines.steps.roots import Roots, located, roots_of
from pipelines.steps.sample import priority
from pipelines.steps.taking_over import sources_of, taken_flacs
from storage.receipts import DataFile, Receipt
from storage.schemas import SCHEMAS, TRAINING
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE

SPEED = 500.0
"""Approximate seconds of audio that one core decodes and writes as FLAC per second."""
WITH_AUDIO = ("s2t", "echo")
"""Training tables with FLAC of the speech inputs."""
Paths = tuple[str, str]
"""Paths of the utterances of a work unit and of their words."""
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
        """See `TableStep.plan`; shards of the parent version stay while all that they hold stays."""
        step = cls(build.config.shards.model_dump(mode="json"))
        language = build.artifacts["unit_language"].fingerprint
        spec, *older = (
            fingerprint(build.specs["ingest"], revision, values, language)
            for _, revision, values in (step.identity(), *step.earlier_identities())
        )
        same = build.matches_parent(cls.name, spec, older)
        earlier = EarlierShards(build)
        words = [receipt.files[0] for receipt in build.steps["encode"]]
        parts = shuffled([Part(*pair) for pair in zip(build.utterance_files, words, strict=True)], step)
        kept = earlier.kept({part.paths for part in parts}) if same else []
        todo = without(parts, {paths for shard in kept for paths in earlier.holds(shard)})
        mended = earlier.mended(kept, todo) if same else []
        new = without(todo, {part.paths for group in mended for part in group})
        groups = [*mended, *plan(step, new)]
        roots = roots_of(build.config.sources)
        anew = build.recomputes(cls.name) and not same
        work_units = [step.work_unit_of(group, roots, earlier.spoken(() if anew else group)) for group in groups]
        return Plan(step, work_units, SPEED, kept=kept)

    def work_unit_of(self, parts: Sequence["Part"], roots: Roots, taken: Spoken) -> WorkUnit[ShardPayload]:
        """The work unit of a shard."""
        files = [ShardFiles(utterances=part.utterances.path, words=part.words.path) for part in parts]
        payload = ShardPayload(units=files, roots=roots, taken=taken)
        inputs = [[part.utterances.sha256, part.words.sha256] for part in parts]
        return self.work_unit(inputs, payload, sum(part.utterances.seconds for part in parts))

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        """See `TableStep.expected_rows`."""
        return sum(receipt.rows_out for receipt in steps["ingest"])

    def open(self, store: Store) -> Process[ShardPayload]:
        """See `Step.open`."""
        config = ShardsConfig.model_validate(self.config)
        return lambda payload: make_shard(store, payload, config)


@dataclass(frozen=True)
class Part:
    """Utterances of a work unit and the file of their words."""

    utterances: UtteranceFile
    words: DataFile

    @property
    def paths(self) -> Paths:
        """Paths of both."""
        return self.utterances.path, self.words.path


class EarlierShards:
    """The shards of the parent version: which work units they hold, and what can be taken from them.

    A shard of an older program does not say what it holds; all of them together hold the work units that no other does.
    A shard may name files of a still earlier version, where a work unit was written anew with the same contents.
    """

    def __init__(self, build: BuildState) -> None:
        self._receipts = build.parent_receipts("shard")
        self._sources = sources_of(build)
        files = utterance_files(build.parent_receipts("ingest"))
        words = [receipt.files[0].path for receipt in build.parent_receipts("encode")]
        everything = {(file.path, path) for file, path in zip(files, words, strict=True)}
        now = {_contents(path): path for path, _ in everything}
        stated = {receipt.fingerprint: _stated(receipt, now) for receipt in self._receipts}
        rest = everything - {paths for held in stated.values() for paths in held or ()}
        self._holds = {name: rest if held is None else held for name, held in stated.items()}
        self._shards: dict[str, list[Receipt]] = {}
        for receipt in self._receipts:
            for utterances, _ in self.holds(receipt):
                self._shards.setdefault(utterances, []).append(receipt)

    def holds(self, shard: Receipt) -> set[Paths]:
        """Paths of the work units in a shard."""
        return self._holds[shard.fingerprint]

    def kept(self, present: set[Paths]) -> list[Receipt]:
        """The shards all of whose work units are there."""
        return [shard for shard in self._receipts if self.holds(shard) <= present]

    def mended(self, kept: Sequence[Receipt], todo: Sequence[Part]) -> list[list[Part]]:
        """Put work units into new shards like the broken ones: what they held and stays, and what replaces the rest.

        Args:
            kept: the shards that are not broken.
            todo: the work units in none of them.

        Returns:
            The work units of each new shard; new work units are in none of them.
        """
        unbroken = {shard.fingerprint for shard in kept}
        groups: dict[str, list[Part]] = {}
        for part in todo:
            sources = [source.path for source in self._sources[part.utterances.path]]
            shards = [shard.fingerprint for path in sources for shard in self._shards.get(path, ())]
            broken = next((name for name in shards if name not in unbroken), None)
            if broken is not None:
                groups.setdefault(broken, []).append(part)
        return list(groups.values())

    def spoken(self, parts: Sequence[Part]) -> Spoken:
        """The utterances and shards whose FLAC a new shard may take over."""
        paths = dict.fromkeys(file.path for part in parts for file in self._sources[part.utterances.path])
        shards = {shard.fingerprint: shard for path in paths for shard in self._shards.get(path, ())}
        files = [file.path for shard in shards.values() for file in shard.files if file.table in WITH_AUDIO]
        return Spoken(utterances=list(paths), shards=files)


def _stated(receipt: Receipt, now: Mapping[str, str]) -> set[Paths] | None:
    """The work units that a shard says it holds; `now` has the paths of the version by `_contents`."""
    held = statistics_of(receipt).get("holds")
    return None if held is None else {(now.get(_contents(path), path), words) for path, words in held}


def _contents(path: str) -> str:
    """The checksums in the name of a file, without the name of its work unit."""
    return path.rpartition("/")[2].partition("-")[2] or path


def shuffled(parts: Iterable[Part], step: Shard) -> list[Part]:
    """The work units in a random order, which depends on the seed and on each of them alone."""
    seed = ShardsConfig.model_validate(step.config).seed
    return sorted(parts, key=lambda part: priority(seed, part.utterances.sha256))


def without(parts: Iterable[Part], paths: set[Paths]) -> list[Part]:
    """The work units whose paths are not among these."""
    return [part for part in parts if part.paths not in paths]


def plan(step: Shard, parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield the work units of each shard, about `hours` each.

    Args:
        step: the configured step.
        parts: work units that are in no shard yet, shuffled.
    """
    seconds = [part.utterances.seconds for part in parts]
    shards = max(1, round(sum(seconds) / 3600 / ShardsConfig.model_validate(step.config).hours))
    for group in balance(enumerate(seconds), shards):
        yield [parts[number] for number in group]


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


def make_shard(store: Store, payload: ShardPayload, config: ShardsConfig) -> Output:
    """Make the shuffled examples of all stages; count the unused utterances by reason.

    Args:
        store: the corpus.
        payload: files of utterances and words, and the earlier shards.
        config: settings of the shards.

    Raises:
        StorageError: a file of the store cannot be read.
        UserError: an audio file is missing or changed since it was ingested.
        AudioError: audio that `quantize` could decode cannot be decoded any more.
    """
    draft = Draft(config)
    for part in payload["units"]:
        words: list[WordsRow] = read_table(store, part["words"], [*WordsRow.__annotations__]).to_pylist()
        by_id = {row["utterance_id"]: row for row in words}
        for dialogue in dialogues(read_table(store, part["utterances"]).to_pylist()):
            draft.add([Turn.of(row, by_id) for row in dialogue])
    spoken = _spoken(store, draft.heard, payload)
    draft.examples.sort(key=lambda example: priority(config.seed, example.values["example_id"]))
    counts = Counter(example.stage for example in draft.examples)
    stats = StepStatistics(
        examples=dict(sorted(counts.items())),
        unused=dict(sorted(draft.unused.items())),
        holds=[[part["utterances"], part["words"]] for part in payload["units"]],
    )
    return Output(list(stage_tables(draft.examples, spoken)), draft.rows, draft.rows, stats=stats)


def _spoken(store: Store, heard: Mapping[str, SpokenRow], payload: ShardPayload) -> dict[str, bytes]:
    """FLAC of utterances by id, from earlier shards where the audio is the same."""
    taken = payload.get("taken")
    found = taken_flacs(store, taken["utterances"], taken["shards"], heard) if taken else {}
    rest = [row for name, row in heard.items() if name not in found]
    return found | flacs(located(rest, payload.get("roots", {})))


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
