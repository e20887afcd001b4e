"""Step 4: fit the artifact `unit_language` to the runs of a sample with SentencePiece.

Later versions of a corpus keep the unit language of the first one unless its configuration or the quantizer changed,
or `refit` is set.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.engine.build_step import FitStep
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.state import BuildState
from pipelines.errors import UserError
from pipelines.records import UtteranceFile
from pipelines.steps.fit_quantizer import clusters
from pipelines.steps.sample import choose, read_tables
from storage.artifacts import ArtifactRef, artifact_path, get_artifact, has_artifact, put_artifact
from storage.receipts import Receipt
from storage.store import Store
from unitlang.language.unit_language import UnitLanguage, train_unit_language

REVISION = 1
KIND = "unit_language"


class FitUnitLanguage(FitStep):
    """Step that learns the words of units from a sample."""

    name: ClassVar[str] = "fit_unit_language"
    after: ClassVar[tuple[str, ...]] = ("quantize",)
    artifact: ClassVar[str] = KIND

    @classmethod
    def spec(cls, build: BuildState) -> str:
        """See `FitStep.spec`."""
        return fingerprint(build.config.unit_language.model_dump(), build.artifacts["quantizer"].fingerprint)

    @classmethod
    def fit(cls, build: BuildState) -> ArtifactRef:
        """See `FitStep.fit`.

        Raises:
            UserError: no utterance was quantised.
        """
        config, store = build.config.unit_language, build.session.store
        quantizer, quantized = build.artifacts["quantizer"].fingerprint, build.steps["quantize"]
        files = build.utterance_files
        pieces = choose(store, build.steps["ingest"], config.sample_hours, config.seed)
        # pieces of one long utterance count as the whole utterance
        chosen = {position: sorted({piece.row for piece in taken}) for position, taken in pieces.items()}
        digests = [
            [files[position].sha256, quantized[position].files[0].sha256, rows] for position, rows in chosen.items()
        ]
        name = fingerprint(KIND, REVISION, config.model_dump(), quantizer, digests)
        if not has_artifact(store, KIND, name):
            if not any(receipt.rows_out for receipt in quantized):
                raise UserError(
                    "sources: no utterance was quantised, so there is nothing to learn a unit language from"
                )
            sequences = _runs(store, files, quantized, chosen)
            with build.session.console.status(f"unit language: {config.algorithm}, {config.vocab_size} words"):
                language = train_unit_language(sequences, config, k=clusters(store, quantizer), quantizer=quantizer)
            put_artifact(store, KIND, name, language.dump())
        return ArtifactRef(KIND, name, artifact_path(KIND, name))


def load_unit_language(store: Store, name: str) -> UnitLanguage:
    """Load the unit language of that fingerprint.

    Raises:
        StorageError: the store has no such unit language.
        UnitlangError: its files are damaged.
    """
    return UnitLanguage.load(get_artifact(store, KIND, name))


def _runs(
    store: Store, files: Sequence[UtteranceFile], quantized: Sequence[Receipt], chosen: dict[int, list[int]]
) -> Iterator[NDArray[np.uint16]]:
    """Yield the deduplicated units of the chosen utterances; those that `quantize` rejected are skipped.

    Where it rejected none, the rows of the units are those of the utterances, and their ids need not be read.
    """
    whole = {position for position in chosen if quantized[position].files[0].rows == files[position].rows}
    ids = read_tables(store, ((files[position].path, ["utterance_id"]) for position in chosen if position not in whole))
    units = read_tables(store, ((quantized[position].files[0].path, None) for position in chosen))
    for (position, rows), table in zip(chosen.items(), units, strict=True):
        if position not in whole:
            wanted = {*next(ids)["utterance_id"].take(pa.array(rows, pa.int64())).to_pylist()}
            rows = [row for row, name in enumerate(table["utterance_id"].to_pylist()) if name in wanted]
        for sequence in table["units"].take(pa.array(rows, pa.int64())):
            yield np.asarray(sequence.values, np.uint16)
