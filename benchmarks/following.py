"""Measure nights of a corpus of real speech: seconds, and files that are decoded.

    ECHOX_TEST_DATA=FOLDER python benchmarks/following.py

FOLDER has `audio/` and its labels `audio_manifest.jsonl`. All is done in a copy of them, in this process.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
from rich.console import Console

from pipelines.build.build import build
from pipelines.build.commit import Built
from pipelines.config.build import check_config
from pipelines.sources import audio_files

DATA = Path(os.environ.get("ECHOX_TEST_DATA", "../shared/data"))
Labels = list[dict[str, Any]]


class Corpus:
    """A copy of the speech, and a store that follows it.

    Attributes:
        source: folder of the manifest and of the audio.
        decoded: files that were decoded since the last night.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.source = home / "speech"
        self.decoded = 0
        self.vocabulary = 500
        shutil.copytree(DATA / "audio", self.source / "audio")
        records = map(json.loads, (DATA / "audio_manifest.jsonl").read_text("utf-8").splitlines())
        self.labels: Labels = [{"path": record["path"], "text": record["text"]} for record in records]
        self.write()
        self._count_decoding()

    def write(self) -> None:
        """Write the manifest."""
        path = self.source / "labels.jsonl"
        path.write_text("".join(json.dumps(label) + "\n" for label in self.labels), "utf-8")

    def _count_decoding(self) -> None:
        stream = audio_files.stream_segments

        def counted(*arguments: Any, **options: Any) -> Any:
            self.decoded += 1
            return stream(*arguments, **options)

        audio_files.stream_segments = counted

    def night(self) -> Built:
        """Build."""
        source = {"kind": "manifest", "path": str(self.source / "labels.jsonl"), "dataset": "labels"}
        values = {
            "store": str(self.home / "store"),
            "sources": [source | {"audio_dir": str(self.source / "audio")}],
            "unit_language": {"vocab_size": self.vocabulary},
            "quantizer": {"k": 100},
            "work_units": {"minutes": 2, "items": 100},
            "shards": {"hours": 0.05},
            "max_reject_ratio": 1.0,
            "run": {"ray_above_seconds": 1e9},
        }
        return build(check_config(values, "benchmark", self.home), Console(quiet=True))

    def mend(self) -> None:
        """Mend one transcript."""
        self.labels[0]["text"] += ", as it was said"
        self.write()

    def move(self) -> None:
        """Move the source; its files keep their times."""
        self.source = self.source.rename(self.home / "moved")

    def copy(self) -> None:
        """Move the source; its files get other times."""
        self.source = Path(shutil.copytree(self.source, self.home / "copied", copy_function=shutil.copy))

    def replace(self) -> None:
        """Replace one file: the same speech backwards."""
        path = self.source / "audio" / self.labels[0]["path"]
        wave_N, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path, wave_N[::-1], rate)

    def other_words(self) -> None:
        """Delete all audio but one file, and ask for another vocabulary."""
        kept = self.labels[-1]
        shutil.copy(self.source / "audio" / kept["path"], self.home / "kept")
        shutil.rmtree(self.source / "audio")
        (self.source / "audio" / kept["path"]).parent.mkdir(parents=True)
        shutil.copy(self.home / "kept", self.source / "audio" / kept["path"])
        self.labels = [kept]
        self.write()
        self.vocabulary = 400


def main() -> None:
    """Print a row of a Markdown table for each night."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder))
        nights: tuple[tuple[str, Callable[[], None]], ...] = (
            ("the first build", lambda: None),
            ("nothing new", lambda: None),
            ("one mended transcript", corpus.mend),
            ("a moved root", corpus.move),
            ("a root that was copied: all files have other times", corpus.copy),
            ("one replaced file", corpus.replace),
            ("another vocabulary, all audio but one file deleted", corpus.other_words),
        )
        print("| night | seconds | decoded files | entries |\n|---|---|---|---|")
        for name, change in nights:
            change()
            corpus.decoded, begun = 0, time.monotonic()
            built = corpus.night()
            print(f"| {name} | {time.monotonic() - begun:.1f} | {corpus.decoded:,} | {built.changes} |", flush=True)


if __name__ == "__main__":
    main()
