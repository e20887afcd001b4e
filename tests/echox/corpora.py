"""A corpus of tones and sentences, as small as training allows, written by `storage` alone."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile

from storage.artifacts import ArtifactRef, put_artifact
from storage.receipts import Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.versions import Version, commit, latest
from unitlang.language.unit_language import UnitLanguage, UnitLanguageConfig, train_unit_language

RATE = 16_000
K = 12
NOUNS = ("cat", "dog", "house", "river", "stone", "bird", "tree", "road")
VERBS = ("sees", "finds", "likes", "leaves", "meets")


def sentence(rng: np.random.Generator) -> str:
    return f"The {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)}."


def flac(rng: np.random.Generator, seconds: float) -> bytes:
    time_N = np.arange(int(RATE * seconds)) / RATE
    wave_N = 0.3 * np.sin(2 * np.pi * rng.integers(100, 2000) * time_N) + 0.01 * rng.standard_normal(len(time_N))
    file = io.BytesIO()
    soundfile.write(file, wave_N, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def unit_language() -> UnitLanguage:
    """Words of units that say letters."""
    rng = np.random.default_rng(0)
    sequences = [spell(sentence(rng)) for _ in range(100)]
    return train_unit_language(sequences, UnitLanguageConfig(vocab_size=60, max_word_units=4), k=K, quantizer="q")


def spell(text: str) -> list[int]:
    """Units of a text: its letters, folded."""
    return [ord(letter) % K for letter in text.lower() if letter.isalpha()]


def rows(language: UnitLanguage, count: int, seed: int, split: str | None) -> dict[str, list[dict[str, object]]]:
    """So many examples of each table."""
    rng = np.random.default_rng(seed)
    tables: dict[str, list[dict[str, object]]] = {"s2t": [], "t2c": [], "echo": []}
    for number in range(count):
        seconds = 0.3 + 0.1 * int(rng.integers(8))
        question, reply = sentence(rng), " ".join(sentence(rng) for _ in range(1 + number % 3))
        words = language.encode(spell(reply)).tolist()
        common = {"example_id": f"{seed}-{number}", "dataset": "tones", "split": split}
        spoken = common | {
            "audio": flac(rng, seconds),
            "num_samples": int(RATE * seconds),
            "prompt": "" if number % 2 else "Answer.",
            "transcript": None if number % 5 == 4 else question,
            "response": reply,
        }
        tables["s2t"].append(spoken)
        tables["echo"].append(spoken | {"words": words})
        tables["t2c"].append(common | {"text": reply, "words": words, "num_frames": 50})
    return tables


def write_corpus(place: Path | str, count: int = 40, *, seed: int = 0, split: str | None = None) -> str:
    """The URI of a new version with so many more examples of each table, in two files of a table."""
    store, language = Store.open(place, create=True), unit_language()
    receipts: list[Receipt] = []
    for part in range(2):
        made = rows(language, count // 2, 10 * seed + part, split)
        tables = [(name, pa.Table.from_pylist(made[name], SCHEMAS[name])) for name in made]
        receipts.append(
            write_output(store, "shard", f"{seed}{part}", tables, rows_in=count, rows_out=count, rejects={}, stats={})
        )
    last = latest(store)
    version = Version(
        number=last.number + 1 if last else 1,
        parent=last.number if last else None,
        steps={"shard": [*(last.steps["shard"] if last else []), *receipts]},
        artifacts=_artifacts(store, language),
        config={},
        lineage={},
        statistics={},
    )
    return commit(store, version).uri


def _artifacts(store: Store, language: UnitLanguage) -> dict[str, ArtifactRef]:
    return {
        "quantizer": put_artifact(store, "quantizer", "q", {"card.json": b"{}"}),
        "unit_language": put_artifact(store, "unit_language", "u", language.dump()),
    }
