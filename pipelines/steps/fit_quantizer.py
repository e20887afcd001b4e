"""Step 2: sample hours, extract features, k-means: -> artifact `quantizer`.

A store's first version fixes its quantizer; a later build uses it again unless its configuration changed or `refit`
is set.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.engine.devices import prepare_device
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.session import Session
from pipelines.engine.step import Output, Payload, Step, Task
from pipelines.errors import UserError
from pipelines.steps.audio_files import sound_streams
from pipelines.steps.ingest import WorkUnit
from pipelines.steps.sample import Piece, choose, priority
from storage.artifacts import ArtifactRef, artifact_path, get_artifact, has_artifact, put_artifact
from storage.receipts import Receipt
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.errors import AudioError
from unitlang.features import FeaturesConfig, as_array, fingerprint_features, load_extractor
from unitlang.frames import SAMPLE_RATE
from unitlang.quantizer.centroids import read_centroids
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import CARD_FILE, Quantizer, QuantizerConfig

REVISION = 2
SAMPLE_TASKS = 64
"""About so many share the sample, whatever its length and the number of workers: few would leave workers idle."""
SHORTEST_TASK, LONGEST_TASK = 30 * SAMPLE_RATE, 300 * SAMPLE_RATE
"""Samples: what a task costs besides would show below, a lost task above."""
KIND = "quantizer"

# Shapes: N frames of the sample, T frames of an utterance, D feature dims, K clusters.


@dataclass(frozen=True)
class SampleFeatures(Step):
    """Features of the sampled utterances, a seeded share of their frames, in half precision.

    Half precision changes no unit (measured on real features); it halves the sample.

    Attributes:
        features: the extractor's configuration.
        features_fingerprint: what its values depend on.
        seed: seeds which frames are kept.
        share: share of the frames that is kept.
    """

    name: ClassVar[str] = "sample_features"
    revision: ClassVar[int] = 1
    features: dict[str, Any]
    features_fingerprint: str
    seed: int
    share: float

    def open(self, store: Store) -> Callable[[Payload], Output]:
        """See `Step.open`."""
        device, threads = prepare_device()
        extractor = load_extractor(parse_features(self.features), device)

        def process(payload: Payload) -> Output:
            rows = list(_rows(store, payload))
            faults: dict[int, AudioError] = {}  # `quantize` reads every utterance and makes the reject
            generators = [self._generator(row) for row in rows]
            kept: list[list[NDArray[np.float16]]] = [[] for _ in rows]
            for number, features_TD in extractor.stream_many(sound_streams(rows, faults, threads)):
                kept[number].append(self._keep(as_array(features_TD), generators[number]))
            blocks_ND = [block for number, blocks in enumerate(kept) if number not in faults for block in blocks]
            columns = {"features": [block.tobytes() for block in blocks_ND], "dim": [extractor.dim] * len(blocks_ND)}
            table = pa.table(columns, SCHEMAS["sample_features"])
            return Output([("sample_features", table)], len(rows), len(rows), stats={"skipped": len(faults)})

        return process

    def _generator(self, row: dict[str, Any]) -> np.random.Generator:
        """Chooses frames by the seed and where the speech stands."""
        name = f"{row['utterance_id']}#{row['offset_samples']}"
        return np.random.default_rng(int.from_bytes(priority(self.seed, name)))

    def _keep(self, features_TD: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float16]:
        """The share of the frames."""
        return features_TD[generator.random(len(features_TD)) < self.share].astype(np.float16)


def parse_features(values: dict[str, Any]) -> FeaturesConfig:
    """The typed configuration from its JSON values."""
    from pydantic import TypeAdapter

    return TypeAdapter[FeaturesConfig](FeaturesConfig).validate_python(values)


def fit_quantizer(
    session: Session,
    units: Sequence[WorkUnit],
    dataset_samples: dict[str, int],
    features: FeaturesConfig,
    config: QuantizerConfig,
) -> ArtifactRef:
    """The quantizer for these utterances; nothing is computed when the store has it already.

    Raises:
        UserError: when the sample is too small for k, or the given centroids do not fit.
    """
    if config.centroids is not None:
        return _public_quantizer(session.store, features, config)
    receipts = _sample(session, units, dataset_samples, features, config)
    digests = [file.sha256 for receipt in receipts for file in receipt.files]
    name = fingerprint(
        KIND, REVISION, fingerprint_features(features), config.k, config.seed, config.iterations, digests
    )
    if not has_artifact(session.store, KIND, name):
        sample_ND = _load_sample(session.store, receipts)
        if len(sample_ND) < config.k:
            raise UserError(
                f"quantizer.k: {config.k} clusters need at least as many frames; the sample has {len(sample_ND)} "
                f"({features.grid().seconds(len(sample_ND)):.1f} s of speech): lower quantizer.k, add speech, or raise "
                "quantizer.sample_hours or quantizer.max_frames"
            )
        with session.console.status(f"k-means: {config.k} clusters of {len(sample_ND):,} frames"):
            centroids_KD = fit_kmeans(sample_ND, config.k, seed=config.seed, iterations=config.iterations)
        fitted = config.model_dump(exclude={"centroids"}) | {"frames": len(sample_ND)}
        put_quantizer(session.store, features, centroids_KD, name, fitted)
    return ArtifactRef(KIND, name, artifact_path(KIND, name))


def quantizer_spec(features: FeaturesConfig, config: QuantizerConfig) -> str:
    """Fingerprint of what the user asks for; while it stays, a store keeps its quantizer."""
    if config.centroids is None:
        return fingerprint(fingerprint_features(features), config.model_dump())
    return fingerprint(fingerprint_features(features), _digest(read_centroids(config.centroids)))


def _digest(centroids_KD: NDArray[np.float32]) -> str:
    return sha256(np.ascontiguousarray(centroids_KD).tobytes()).hexdigest()


def _public_quantizer(store: Store, features: FeaturesConfig, config: QuantizerConfig) -> ArtifactRef:
    centroids_KD = read_centroids(str(config.centroids))
    name = fingerprint(KIND, REVISION, fingerprint_features(features), _digest(centroids_KD))
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
    """Write the quantizer's files under its fingerprint; `fitted` goes on its card."""
    put_artifact(store, KIND, name, Quantizer(load_extractor(features), centroids_KD, name, fitted).dump())


def clusters(store: Store, name: str) -> int:
    """Number of units of the quantizer of that fingerprint, without loading its model."""
    return int(json.loads(get_artifact(store, KIND, name)[CARD_FILE])["k"])


def load_quantizer(store: Store, name: str, device: str = "cpu") -> Quantizer:
    """The quantizer of that fingerprint, with its extractor on a device, ready to use."""
    return Quantizer.load(get_artifact(store, KIND, name), device)


def _sample(
    session: Session,
    units: Sequence[WorkUnit],
    dataset_samples: dict[str, int],
    features: FeaturesConfig,
    config: QuantizerConfig,
) -> list[Receipt]:
    chosen = choose(session.store, units, dataset_samples, config.sample_hours, config.seed)
    speech = [(units[position], piece) for position, pieces in chosen.items() for piece in pieces]
    frames = sum(piece.samples for _, piece in speech) / features.grid().hop
    share = min(1.0, config.max_frames / frames) if frames else 1.0
    step = SampleFeatures(features.model_dump(), fingerprint_features(features), config.seed, round(share, 6))
    return session.run(step, list(_sample_tasks(step, speech)), speed=features.speed, gpu=features.gains_by_gpu)


def _sample_tasks(step: SampleFeatures, speech: Sequence[tuple[WorkUnit, Piece]]) -> Iterator[Task]:
    """The chosen speech in tasks of about the same length."""
    size = sum(piece.samples for _, piece in speech) // SAMPLE_TASKS
    size = min(max(size, SHORTEST_TASK), LONGEST_TASK)
    held: list[tuple[WorkUnit, Piece]] = []
    samples = 0
    for unit, piece in speech:
        held.append((unit, piece))
        samples += piece.samples
        if samples >= size:
            yield _sample_task(step, held, samples)
            held, samples = [], 0
    if held:
        yield _sample_task(step, held, samples)


def _sample_task(step: SampleFeatures, speech: list[tuple[WorkUnit, Piece]], samples: int) -> Task:
    parts = [(unit, [astuple(piece) for _, piece in pieces]) for unit, pieces in groupby(speech, lambda part: part[0])]
    payload = {"parts": [{"path": unit.path, "pieces": pieces} for unit, pieces in parts]}
    return step.task([[unit.sha256, pieces] for unit, pieces in parts], payload, samples / SAMPLE_RATE)


def _rows(store: Store, payload: Payload) -> Iterator[dict[str, Any]]:
    """The chosen utterances; of a long one, a row for each chosen piece."""
    for part in payload["parts"]:
        pieces = [Piece(*values) for values in part["pieces"]]
        rows = read_table(store, part["path"]).take([piece.row for piece in pieces]).to_pylist()
        for row, piece in zip(rows, pieces, strict=True):
            yield row | {"offset_samples": row["offset_samples"] + piece.offset, "num_samples": piece.samples}


def _load_sample(store: Store, receipts: Sequence[Receipt]) -> NDArray[np.float16]:
    """All sampled frames, in the order of the tasks; besides them, one task's are in memory."""
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


if __name__ == "__main__":
    from pipelines.main import run_step

    run_step("fit_quantizer")
