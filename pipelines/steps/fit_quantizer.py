"""Step 2: fit the artifact `quantizer`: extract the features of a sample and run k-means on them.

Later versions of a corpus keep the quantizer of the first one unless its configuration changed or `refit` is set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from itertools import groupby
from typing import Any, ClassVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pipelines.engine.build_step import FitStep
from pipelines.engine.devices import prepare_device
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.pools.decoded import Decoded
from pipelines.engine.rejects import check_speech
from pipelines.engine.state import BuildState
from pipelines.engine.step import Output, Process, Reject, Step, WorkUnit
from pipelines.entries.roots import Roots, located, roots_of
from pipelines.errors import UserError
from pipelines.records import (
    SampledFile,
    SamplePayload,
    SpokenRow,
    StepStatistics,
    UtteranceFile,
    selected,
    statistics_of,
)
from pipelines.sources.audio_files import computed, crash_reject, decoded
from pipelines.steps.sample import Piece, choose, priority
from storage.artifacts import ArtifactRef, artifact_path, get_artifact, has_artifact, put_artifact, read_card
from storage.receipts import Receipt
from storage.records import typed
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.errors import AudioError
from unitlang.features import FeaturesConfig, as_array
from unitlang.frames import SAMPLE_RATE, FrameGrid
from unitlang.grouping import grouped
from unitlang.quantizer.centroids import read_centroids
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import CARD_FILE, Quantizer, QuantizerCard, QuantizerConfig, grid_of_card

REVISION = 2
SAMPLE_WORK_UNITS = 64
"""Approximate number of work units of the sample, whatever its length; few would leave workers idle."""
SHORTEST, LONGEST = 30 * SAMPLE_RATE, 300 * SAMPLE_RATE
"""Bounds of the length of such a work unit in samples: shorter ones cost too much to start, longer ones to repeat."""
KIND = "quantizer"
_CARD = TypeAdapter(QuantizerCard)

# Shapes: N frames of the sample, T frames of an utterance, D feature dims, K clusters.


class FitQuantizer(FitStep):
    """Step that fits the centroids to a sample, or reads those of a public codebook."""

    name: ClassVar[str] = "fit_quantizer"
    after: ClassVar[tuple[str, ...]] = ("ingest",)
    artifact: ClassVar[str] = KIND

    @classmethod
    def run(cls, build: BuildState) -> None:
        """See `BuildStep.run`."""
        super().run(build)
        _check_language(build)

    @classmethod
    def spec(cls, build: BuildState) -> str:
        """See `FitStep.spec`."""
        features, config = build.config.features, build.config.quantizer
        if config.centroids is None:
            return fingerprint(features.fingerprint(), config.model_dump())
        return fingerprint(features.fingerprint(), _digest(read_centroids(config.centroids)))

    @classmethod
    def fit(cls, build: BuildState) -> ArtifactRef:
        """See `FitStep.fit`.

        Raises:
            UserError: the sample has fewer frames than clusters.
            UnitlangError: the given centroids cannot be read or do not fit the extractor.
        """
        features, config, store = build.config.features, build.config.quantizer, build.session.store
        if config.centroids is not None:
            return _public_quantizer(store, features, config)
        check_speech(store, build.steps, config.k, features.grid())
        receipts = _sample(build)
        digests = [file.sha256 for receipt in receipts for file in receipt.files]
        name = fingerprint(KIND, REVISION, features.fingerprint(), config.k, config.seed, config.iterations, digests)
        if not has_artifact(store, KIND, name):
            sample_ND = _load_sample(store, receipts)
            skipped = sum(statistics_of(receipt).get("skipped", 0) for receipt in receipts)
            check_sample(len(sample_ND), skipped, config, features)
            with build.session.console.status(f"k-means: {config.k} clusters of {len(sample_ND):,} frames"):
                centroids_KD = fit_kmeans(sample_ND, config.k, seed=config.seed, iterations=config.iterations)
            fitted = config.model_dump(exclude={"centroids"}) | {"frames": len(sample_ND)}
            put_quantizer(store, features, centroids_KD, name, fitted)
        return ArtifactRef(KIND, name, artifact_path(KIND, name))


def _check_language(build: BuildState) -> None:
    """Refuse a unit language of another store that was learnt from units of another quantizer, before the long steps.

    Raises:
        UserError: it was.
    """
    language = build.artifacts.get("unit_language")
    if language is None:
        return
    learnt_on = read_card(build.session.store, language.kind, language.fingerprint)["quantizer"]
    quantizer = build.artifacts[KIND].fingerprint
    if learnt_on != quantizer:
        raise UserError(
            f"artifacts_from.unit_language: it was learnt on units of quantizer {learnt_on}, but this build uses "
            f"{quantizer}; take both from one version: `artifacts_from: STORE@VERSION`"
        )


def check_sample(frames: int, skipped: int, config: QuantizerConfig, features: FeaturesConfig) -> None:
    """Refuse a sample with fewer frames than clusters.

    Args:
        frames: frames of the sample.
        skipped: chosen utterances that could not be decoded.
        config: what was asked for.
        features: configuration of the extractor.

    Raises:
        UserError: the sample is too small; the message names the fields to change.
    """
    if frames < config.k:
        raise UserError(
            f"quantizer.k: {config.k} clusters need at least as many frames; the sample has {frames} "
            f"({features.grid().seconds(frames):.1f} s of speech): lower quantizer.k, add speech, or raise "
            f"quantizer.sample_hours or quantizer.max_frames{_unusable(skipped)}"
        )


def _unusable(skipped: int) -> str:
    if not skipped:
        return ""
    return f"; {skipped} of the chosen utterances cannot be decoded to their end, another quantizer.seed chooses others"


@dataclass(frozen=True)
class SampleFeatures(Step[SamplePayload]):
    """Computation of the sampled features: a random share of the frames of the sampled utterances, in half precision.

    Half precision changes no unit (measured on real features) and halves the size of the sample.

    Attributes:
        features: the extractor's configuration.
        features_fingerprint: fingerprint of everything that affects the features.
        seed: seed of the choice of frames.
        share: share of the frames that is kept.
    """

    name: ClassVar[str] = "sample_features"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("sample_features",)
    decodes: ClassVar[bool] = True
    features: dict[str, Any]
    features_fingerprint: str
    seed: int
    share: float

    def open(self, store: Store) -> Process[SamplePayload]:
        """See `Step.open`."""
        device, threads = prepare_device()
        extractor = parse_features(self.features).load(device)

        def process(payload: SamplePayload) -> Output:
            rows = selected(list(_rows(store, payload)), payload)
            faults: dict[int, AudioError] = {}  # not reported here: `quantize` reads every utterance and rejects it
            generators = [self._generator(row) for row in rows]
            kept: list[list[NDArray[np.float16]]] = [[] for _ in rows]
            given = payload.get("decoded")
            for number, features_TD in computed(rows, extractor.stream_many, faults, threads, given):
                kept[number].append(self._keep(as_array(features_TD), generators[number]))
            blocks_ND = [block for number, blocks in enumerate(kept) if number not in faults for block in blocks]
            columns = {"features": [block.tobytes() for block in blocks_ND], "dim": [extractor.dim] * len(blocks_ND)}
            table = pa.table(columns, SCHEMAS["sample_features"])
            return Output([("sample_features", table)], len(rows), len(rows), stats=StepStatistics(skipped=len(faults)))

        return process

    def decode(self, store: Store, payload: SamplePayload) -> Decoded:
        """See `Step.decode`."""
        return decoded(_rows(store, payload))

    def crash_rejects(self, store: Store, payload: SamplePayload) -> list[Reject]:
        """See `Step.crash_rejects`; `quantize` reports these utterances."""
        return [crash_reject(row) for row in _rows(store, payload)]

    def _generator(self, row: SpokenRow) -> np.random.Generator:
        """A generator that depends on the seed and on the id and offset of the speech."""
        name = f"{row['utterance_id']}#{row['offset_samples']}"
        return np.random.default_rng(int.from_bytes(priority(self.seed, name)))

    def _keep(self, features_TD: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float16]:
        """Keep a random share of the frames."""
        return features_TD[generator.random(len(features_TD)) < self.share].astype(np.float16)


def parse_features(values: dict[str, Any]) -> FeaturesConfig:
    """The typed configuration of an extractor from its JSON values.

    Raises:
        pydantic.ValidationError: the values are not those of a known extractor.
    """
    return TypeAdapter[FeaturesConfig](FeaturesConfig).validate_python(values)


def _digest(centroids_KD: NDArray[np.float32]) -> str:
    return sha256(np.ascontiguousarray(centroids_KD).tobytes()).hexdigest()


def _public_quantizer(store: Store, features: FeaturesConfig, config: QuantizerConfig) -> ArtifactRef:
    centroids_KD = read_centroids(str(config.centroids))
    name = fingerprint(KIND, REVISION, features.fingerprint(), _digest(centroids_KD))
    if not has_artifact(store, KIND, name):
        put_quantizer(store, features, centroids_KD, name, {"centroids": config.centroids})
    return ArtifactRef(KIND, name, artifact_path(KIND, name))


def put_quantizer(
    store: Store,
    features: FeaturesConfig,
    centroids_KD: NDArray[np.float32],
    name: str,
    fitted: dict[str, Any],
) -> None:
    """Write a quantizer to the store.

    Args:
        store: the corpus.
        features: configuration of the extractor.
        centroids_KD: centroids, float32.
        name: fingerprint of the quantizer.
        fitted: origin of the centroids, for the card.

    Raises:
        UnitlangError: the extractor cannot be loaded, or the centroids do not fit it.
        StorageError: the store cannot be written.
    """
    put_artifact(store, KIND, name, Quantizer(features.load(), centroids_KD, name, fitted).dump())


def quantizer_card(store: Store, name: str) -> QuantizerCard:
    """The card of the quantizer of that fingerprint.

    Raises:
        StorageError: the store has no such quantizer.
    """
    url = store.url(f"{artifact_path(KIND, name)}/{CARD_FILE}")
    return typed(_CARD, read_card(store, KIND, name), url)


def clusters(store: Store, name: str) -> int:
    """Number of clusters of the quantizer of that fingerprint; its model is not loaded.

    Raises:
        StorageError: the store has no such quantizer.
    """
    return int(quantizer_card(store, name)["k"])


def frame_grid(store: Store, name: str) -> FrameGrid:
    """Frame grid of the quantizer of that fingerprint; its model is not loaded.

    Raises:
        StorageError: the store has no such quantizer.
    """
    return grid_of_card(quantizer_card(store, name))


def load_quantizer(store: Store, name: str, device: str = "cpu") -> Quantizer:
    """Load the quantizer of that fingerprint with its extractor on a device.

    Raises:
        StorageError: the store has no such quantizer.
        UnitlangError: the model of the extractor cannot be loaded.
    """
    return Quantizer.load(get_artifact(store, KIND, name), device)


def _sample(build: BuildState) -> list[Receipt]:
    """Compute the features of a sample of the speech; return the receipts."""
    features, config, files = build.config.features, build.config.quantizer, build.utterance_files
    chosen = choose(build.session.store, build.steps["ingest"], config.sample_hours, config.seed)
    speech = [(files[position], piece) for position, pieces in chosen.items() for piece in pieces]
    frames = sum(piece.samples for _, piece in speech) / features.grid().hop
    share = min(1.0, config.max_frames / frames) if frames else 1.0
    step = SampleFeatures(features.model_dump(), features.fingerprint(), config.seed, round(share, 6))
    work_units = list(_sample_work_units(step, speech, roots_of(build.config.sources)))
    return build.session.run(step, work_units, speed=features.speed, gpu=features.gains_by_gpu)


def _sample_work_units(
    step: SampleFeatures, speech: Sequence[tuple[UtteranceFile, Piece]], roots: Roots
) -> Iterator[WorkUnit[SamplePayload]]:
    """Yield work units of about the same length that share the chosen speech."""
    size = sum(piece.samples for _, piece in speech) // SAMPLE_WORK_UNITS
    size = min(max(size, SHORTEST), LONGEST)
    for group in grouped(speech, lambda group, _: sum(piece.samples for _, piece in group) >= size):
        yield _sample_work_unit(step, group, roots)


def _sample_work_unit(
    step: SampleFeatures, speech: Sequence[tuple[UtteranceFile, Piece]], roots: Roots
) -> WorkUnit[SamplePayload]:
    samples = sum(piece.samples for _, piece in speech)
    parts = [(file, [astuple(piece) for _, piece in pieces]) for file, pieces in groupby(speech, lambda part: part[0])]
    payload = SamplePayload(parts=[SampledFile(path=file.path, pieces=pieces) for file, pieces in parts], roots=roots)
    return step.work_unit([[file.sha256, pieces] for file, pieces in parts], payload, samples / SAMPLE_RATE)


def _rows(store: Store, payload: SamplePayload) -> Iterator[SpokenRow]:
    """Yield a row for each chosen utterance, or for each chosen piece of a long one."""
    for part in payload["parts"]:
        pieces = [Piece(*values) for values in part["pieces"]]
        rows = read_table(store, part["path"]).take([piece.row for piece in pieces]).to_pylist()
        for row, piece in zip(rows, pieces, strict=True):
            located([row], payload.get("roots", {}))
            row |= {"offset_samples": row["offset_samples"] + piece.offset, "num_samples": piece.samples}
            yield cast(SpokenRow, row)


def _load_sample(store: Store, receipts: Sequence[Receipt]) -> NDArray[np.float16]:
    """All sampled frames in the order of the work units; at most one work unit's frames are in memory twice."""
    sample_ND = np.empty((0, 1), np.float16)
    for receipt in receipts:
        table = read_table(store, receipt.files[0].path)
        blocks = [np.frombuffer(cell.as_buffer(), np.float16) for cell in table["features"]]
        if blocks:
            dim, rows = table["dim"][0].as_py(), len(sample_ND)
            more_ND = np.concatenate(blocks).reshape(-1, dim)
            sample_ND.resize((rows + len(more_ND), dim), refcheck=False)  # realloc: large arrays grow without a copy
            sample_ND[rows:] = more_ND
    return sample_ND
