from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipelines.export.corpora import RATE, Corpus, digest, exported

pytestmark = pytest.mark.slow

lhotse = pytest.importorskip("lhotse")
RIGHTS = ("licence", "attribution", "consent", "source_url")
CUSTOM = ("dataset", "split", "task", "dialogue_id", "turn", "role", *RIGHTS, "units", "durations", "words")


def test_lhotse_reads_what_the_corpus_holds(corpus: Corpus, truth: dict[str, Any], tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path / "shar", "shar")
    read: dict[str, Any] = {}
    for split in ("train", "test_clean"):
        assert len(list((folder / split).glob("cuts.*.jsonl.gz"))) > 1
        for cut in lhotse.CutSet.from_shar(in_dir=folder / split):
            facts = _facts(cut)
            read[facts["id"]] = facts
    assert read == {name: {**facts, "num_frames": sum(facts["durations"])} for name, facts in truth.items()}


def _facts(cut: Any) -> dict[str, Any]:
    lhotse.qa.validate(cut)
    (supervision,) = cut.supervisions
    assert (supervision.start, supervision.duration) == (0, cut.duration)
    assert cut.sampling_rate == RATE
    samples_N = cut.load_audio()[0]
    return {
        "id": supervision.id,
        "text": supervision.text,
        "language": supervision.language,
        "speaker": supervision.speaker,
        **{name: cut.custom.get(name) for name in CUSTOM},
        "num_samples": cut.num_samples,
        "num_frames": sum(cut.durations),
        "audio": digest(np.round(samples_N * 32768)),
    }
