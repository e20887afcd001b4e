"""Step 4: sample runs, SentencePiece: -> artifact `unit_language`.

Like the quantizer it is fixed by a store's first version and fitted anew only when its configuration or the quantizer
changed, or when `refit` is set.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.session import Session
from pipelines.errors import UserError
from pipelines.steps.ingest import WorkUnit
from pipelines.steps.sample import choose
from storage.artifacts import ArtifactRef, artifact_path, get_artifact, has_artifact, put_artifact
from storage.receipts import Receipt
from storage.store import Store
from storage.tables import read_table
from unitlang.language.unit_language import UnitLanguage, UnitLanguageConfig, train_unit_language

REVISION = 1
KIND = "unit_language"


def fit_unit_language(
    session: Session,
    units: Sequence[WorkUnit],
    quantized: Sequence[Receipt],
    dataset_samples: dict[str, int],
    config: UnitLanguageConfig,
    *,
    quantizer: str,
    k: int,
) -> ArtifactRef:
    """The unit language of these units; nothing is computed when the store has it already.

    Args:
        session: the build's session.
        units: the work units.
        quantized: the receipts of `quantize`, one for each work unit.
        dataset_samples: length of each dataset in samples at 16 kHz.
        config: what to learn.
        quantizer: fingerprint of the quantizer that made the units.
        k: its number of clusters.

    Raises:
        UserError: when there is nothing to learn from.
    """
    pieces = choose(session.store, units, dataset_samples, config.sample_hours, config.seed)
    chosen = {position: sorted({piece.row for piece in taken}) for position, taken in pieces.items()}
    digests = [[units[position].sha256, quantized[position].files[0].sha256, rows] for position, rows in chosen.items()]
    name = fingerprint(KIND, REVISION, config.model_dump(), quantizer, digests)
    if not has_artifact(session.store, KIND, name):
        if not any(receipt.rows_out for receipt in quantized):
            raise UserError("sources: no utterance was quantised, so there is nothing to learn a unit language from")
        sequences = _runs(session.store, units, quantized, chosen)
        with session.console.status(f"unit language: {config.algorithm}, {config.vocab_size} words"):
            language = train_unit_language(sequences, config, k=k, quantizer=quantizer)
        put_artifact(session.store, KIND, name, language.dump())
    return ArtifactRef(KIND, name, artifact_path(KIND, name))


def load_unit_language(store: Store, name: str) -> UnitLanguage:
    """The unit language of that fingerprint."""
    return UnitLanguage.load(get_artifact(store, KIND, name))


def _runs(
    store: Store, units: Sequence[WorkUnit], quantized: Sequence[Receipt], chosen: dict[int, list[int]]
) -> Iterator[NDArray[np.uint16]]:
    """Units of the chosen utterances; those that `quantize` rejected are not there."""
    for position, rows in chosen.items():
        names = read_table(store, units[position].path, ["utterance_id"])["utterance_id"].take(rows).to_pylist()
        table = read_table(store, quantized[position].files[0].path, ["utterance_id", "units"])
        wanted = set(names)
        for name, sequence in zip(table["utterance_id"].to_pylist(), table["units"], strict=True):
            if name in wanted:
                yield np.asarray(sequence.values, np.uint16)


if __name__ == "__main__":
    from pipelines.main import run_step

    run_step("fit_unit_language")
