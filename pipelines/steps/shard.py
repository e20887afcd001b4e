"""Step 6: write the training tables: join utterances and words to examples, and shuffle them in balanced shards.

A shard holds the shuffled examples of a few hours of new work units, chosen at random with a seed. Shards of earlier
versions stay while the work units in them stay, so new audio only adds shards. A shard that is made again takes its
FLAC from the earlier ones, so the source's audio is not needed. Another unit language changes no example without words:
files of `s2t` stay under their names.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from heapq import heapreplace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import soundfile
from numpy.typing import NDArray
from pydantic import Field

from echox.data.contents import Key, contents_to_be_written
from pipelines.engine.build_step import Plan, TableStep
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.state import BuildState
from pipelines.engine.step import Output, Process, WorkUnit, noted
from pipelines.entries.roots import Roots, located, roots_of
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
from pipelines.sources.audio_files import in_passes, place_of, row_streams
from pipelines.sources.cutting import dialogues
from pipelines.sources.taking_over import sources_of, taken_flacs
from pipelines.steps.examples import Example, ExamplesConfig, Turn, examples, unused_reasons
from pipelines.steps.sample import priority
from storage.artifacts import ArtifactRef
from storage.receipts import DataFile, Receipt
from storage.schemas import SCHEMAS, TRAINING
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE

SPEED = 500.0
"""Approximate seconds of audio that one core decodes and writes as FLAC per second."""
WITH_AUDIO = ("s2t", "echo")
"""Training tables with FLAC of the speech inputs."""
WITHOUT_WORDS = ("s2t",)
"""Training tables that do not depend on the unit language."""
Contents = tuple[str, str]
"""Digests of the utterances of a work unit and of their words."""
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
        spec, *older = step.all_specs(build.specs, build.artifacts)
        same = build.matches_parent(cls.name, spec, older)
        earlier = EarlierShards(build)
        words = [receipt.files[0] for receipt in build.steps["encode"]]
        parts = shuffled([Part(*pair) for pair in zip(build.utterance_files, words, strict=True)], step)
        kept = earlier.kept({part.contents for part in parts}) if same else []
        other_words = not same and step.differs_in_words(build)
        recoded = [(shard, earlier.now(shard, parts)) for shard in earlier.recoded(parts)] if other_words else []
        todo = without(parts, {contents for shard in kept for contents in earlier.holds(shard)})
        todo = without(todo, {part.contents for _, group in recoded for part in group})
        whole = [*kept, *(shard for shard, _ in recoded)]
        mended = earlier.mended(whole, todo) if same or other_words else []
        new = without(todo, {part.contents for group in mended for part in group})
        roots = roots_of(build.config.sources)
        work_units = [step.work_unit_of(group, roots, earlier.spoken(group), shard) for shard, group in recoded]
        anew = build.recomputes(cls.name) and not (same or other_words)
        groups = [*mended, *plan(step, new)]
        work_units += [step.work_unit_of(group, roots, earlier.spoken(() if anew else group)) for group in groups]
        return Plan(step, work_units, SPEED, kept=kept)

    def all_specs(self, specs: Mapping[str, str], artifacts: Mapping[str, ArtifactRef]) -> list[str]:
        """Fingerprints of what all shards of a version depend on, besides its utterances; the last revision's first."""
        language = artifacts["unit_language"].fingerprint
        identities = (self.identity(), *self.earlier_identities())
        return [fingerprint(specs["ingest"], revision, values, language) for _, revision, values in identities]

    def differs_in_words(self, build: BuildState) -> bool:
        """Return whether the shards of the parent version depend on what those of a build do but the unit language."""
        if build.parent is None or "unit_language" not in build.parent.artifacts:
            return False
        known = self.all_specs(build.specs, build.parent.artifacts)
        return build.parent.lineage["specs"].get(self.name) in (known[:1] if build.recomputes(self.name) else known)

    def work_unit_of(
        self, parts: Sequence["Part"], roots: Roots, taken: Spoken, recoded: Receipt | None = None
    ) -> WorkUnit[ShardPayload]:
        """The work unit of a shard.

        Args:
            parts: what it holds.
            roots: roots of the datasets.
            taken: earlier shards, whose FLAC is taken over.
            recoded: an earlier shard that differs in words only; its files without words are kept.
        """
        files = [ShardFiles(utterances=part.utterances.path, words=part.words.path) for part in parts]
        payload = ShardPayload(units=files, roots=roots, taken=taken)
        inputs: list[Any] = [[part.utterances.sha256, part.words.sha256] for part in parts]
        seconds = sum(part.utterances.seconds for part in parts)
        made = self.work_unit(inputs, payload, seconds)
        kept = [file for file in recoded.files if file.table in WITHOUT_WORDS] if recoded else []
        if not kept or all(file.path.rpartition("/")[2].startswith(made.fingerprint) for file in kept):
            return made  # it makes these files itself
        payload["kept"] = [asdict(file) for file in kept]
        payload["contents"] = statistics_of(recoded).get("contents", {}) if recoded else {}
        return self.work_unit([inputs, [file.path for file in kept]], payload, seconds)

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
    def contents(self) -> Contents:
        """Digests of both."""
        return digest_in(self.utterances.path), digest_in(self.words.path)


class EarlierShards:
    """The shards of the parent version: which work units they hold, and what can be taken from them.

    A shard of an older program does not say what it holds; all of them together hold the work units that no other does.
    """

    def __init__(self, build: BuildState) -> None:
        self._receipts = build.parent_receipts("shard")
        self._sources = sources_of(build)
        files = utterance_files(build.parent_receipts("ingest"))
        words = [receipt.files[0].path for receipt in build.parent_receipts("encode")]
        everything = {(digest_in(file.path), digest_in(path)) for file, path in zip(files, words, strict=True)}
        stated = {receipt.fingerprint: _stated(receipt) for receipt in self._receipts}
        rest = everything - {contents for held in stated.values() for contents in held or ()}
        self._holds = {name: rest if held is None else held for name, held in stated.items()}
        self._quantized = _by_contents(files, build.parent_receipts("quantize"))
        self._quantized_now = _by_contents(build.utterance_files, build.steps["quantize"])
        self._stated = {name for name, held in stated.items() if held is not None}
        self._shards: dict[str, list[Receipt]] = {}
        for receipt in self._receipts:
            for utterances, _ in self.holds(receipt):
                self._shards.setdefault(utterances, []).append(receipt)

    def holds(self, shard: Receipt) -> set[Contents]:
        """The work units in a shard."""
        return self._holds[shard.fingerprint]

    def kept(self, present: set[Contents]) -> list[Receipt]:
        """The shards all of whose work units are there."""
        return [shard for shard in self._receipts if self.holds(shard) <= present]

    def recoded(self, parts: Sequence[Part]) -> list[Receipt]:
        """The shards all of whose utterances are there, and are rejected or not as before; their words may differ."""
        present = {part.contents[0] for part in parts if self._is_spoken_alike(part.contents[0])}
        held = ((shard, {utterances for utterances, _ in self.holds(shard)}) for shard in self._receipts)
        return [shard for shard, contents in held if contents <= present and shard.fingerprint in self._stated]

    def _is_spoken_alike(self, contents: str) -> bool:
        """Return whether the same utterances of a file have units now as had before."""
        before, now = self._quantized.get(contents), self._quantized_now[contents]
        return before is not None and (before.fingerprint == now.fingerprint or not (before.rejects or now.rejects))

    def now(self, shard: Receipt, parts: Sequence[Part]) -> list[Part]:
        """The work units of a shard, with the words of today."""
        held = {utterances for utterances, _ in self.holds(shard)}
        return [part for part in parts if part.contents[0] in held]

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
            sources = [digest_in(source.path) for source in self._sources[part.utterances.path]]
            shards = [shard.fingerprint for source in sources for shard in self._shards.get(source, ())]
            broken = next((name for name in shards if name not in unbroken), None)
            if broken is not None:
                groups.setdefault(broken, []).append(part)
        return list(groups.values())

    def spoken(self, parts: Sequence[Part]) -> Spoken:
        """The utterances and shards whose FLAC a new shard may take over."""
        paths = dict.fromkeys(file.path for part in parts for file in self._sources[part.utterances.path])
        shards = {shard.fingerprint: shard for path in paths for shard in self._shards.get(digest_in(path), ())}
        files = [file.path for shard in shards.values() for file in shard.files if file.table in WITH_AUDIO]
        return Spoken(utterances=list(paths), shards=files)


def _by_contents(files: Sequence[UtteranceFile], receipts: Sequence[Receipt]) -> dict[str, Receipt]:
    return {digest_in(file.path): receipt for file, receipt in zip(files, receipts, strict=True)}


def digest_in(path: str) -> str:
    """Digest of the contents of a table, from the name of its file.

    The same rows may have another path in a later version: a work unit of `ingest` changes with its rejects as well.
    """
    return path.partition("-")[2]


def _stated(receipt: Receipt) -> set[Contents] | None:
    held = statistics_of(receipt).get("holds")
    return None if held is None else {(digest_in(utterances), digest_in(words)) for utterances, words in held}


def shuffled(parts: Iterable[Part], step: Shard) -> list[Part]:
    """The work units in a random order, which depends on the seed and on each of them alone."""
    seed = ShardsConfig.model_validate(step.config).seed
    return sorted(parts, key=lambda part: priority(seed, part.utterances.sha256))


def without(parts: Iterable[Part], contents: set[Contents]) -> list[Part]:
    """The work units that are not among these."""
    return [part for part in parts if part.contents not in contents]


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
    totals = [(0.0, group) for group in range(groups)]  # a heap
    members: list[list[int]] = [[] for _ in range(groups)]
    for thing, size in sized:
        total, smallest = totals[0]
        members[smallest].append(thing)
        heapreplace(totals, (total + size, smallest))
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
    counts = Counter(example.stage for example in draft.examples)
    kept, known = [DataFile(**values) for values in payload.get("kept", ())], payload.get("contents", {})
    made = [example for example in draft.examples if example.stage not in {file.table for file in kept}]
    spoken = _spoken(store, _heard_in(made, draft), payload)
    made.sort(key=lambda example: priority(config.seed, example.values["example_id"]))
    stats = StepStatistics(
        examples=dict(sorted(counts.items())),
        unused=dict(sorted(draft.unused.items())),
        holds=[[part["utterances"], part["words"]] for part in payload["units"]],
        contents=_contents_of(made) | {file.table: known[file.table] for file in kept if file.table in known},
    )
    return Output(list(stage_tables(made, spoken)), draft.rows, draft.rows, stats=stats, kept=kept)


def _contents_of(made: Sequence[Example]) -> dict[str, Any]:
    """Facts of the files of examples, by table, which training then need not read when it starts."""
    keys: dict[str, list[Key]] = {}
    for example in made:
        keys.setdefault(example.stage, []).append((example.values["example_id"], example.values["split"]))
    return {table: contents_to_be_written(table, keys[table]) for table in sorted(keys)}


def _heard_in(made: Iterable[Example], draft: Draft) -> dict[str, SpokenRow]:
    """The utterances that are speech input of some of the examples, in the order of the tables."""
    names = {example.heard["utterance_id"] for example in made if example.heard}
    return {name: row for name, row in draft.heard.items() if name in names}


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
    """Encode utterances as FLAC, by id; each file is decoded once.

    Raises:
        UserError: a file is missing or changed since it was ingested.
        AudioError: a file cannot be decoded.
    """
    encoded: dict[str, bytes] = {}
    rows = list(heard)
    for row, blocks in row_streams(rows[number] for number in in_passes(rows)):
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
