"""Random histories of a source: after each night the corpus equals one that is built from scratch.

`HISTORIES=1000 uv run pytest tests/pipelines/build/test_histories.py -m slow` tries more of them.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from rich.console import Console

from pipelines.build.build import build, run_until
from pipelines.build.verify import verify
from pipelines.config.build import BuildConfig, check_config
from pipelines.errors import UserError
from pipelines.forget.forget import forget
from pipelines.forget.wanted import Wanted
from storage.store import Store
from tests.pipelines.conftest import rows
from tests.speech import RATE, voice

HISTORIES = int(os.environ.get("HISTORIES", "8"))
NIGHTS = 12
QUIET = Console(quiet=True)
CLIPS = st.integers(0, 7)
SOUNDS = [voice(0.4 + 0.1 * number, number) for number in range(6)]

pytestmark = pytest.mark.slow


class Histories(RuleBasedStateMachine):
    """A folder of clips that changes, and a corpus that follows it."""

    @initialize()
    def begin(self) -> None:
        """Make a source with a few clips, and a codebook that all builds use."""
        self.home = Path(tempfile.mkdtemp(prefix="echox-history-"))
        self.moves = self.builds = self.forgotten = 0
        self.withdrawn = set[str]()
        self.vocabulary = 30
        self.gone = "remove"
        self.folder = self.home / "speech0"
        self.folder.mkdir()
        np.save(self.home / "c.npy", np.random.default_rng(0).standard_normal((12, 39)).astype(np.float32) * 20)
        for clip in range(3):
            self.write(clip, clip)

    def teardown(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.home, ignore_errors=True)

    def path(self, clip: int) -> Path:
        """Path of a clip."""
        return self.folder / f"clip{clip}.wav"

    def write(self, clip: int, sound: int) -> None:
        """Write or replace the audio of a clip."""
        soundfile.write(self.path(clip), SOUNDS[sound], RATE, subtype="PCM_16")
        text = self.path(clip).with_suffix(".txt")
        if not text.exists():
            text.write_text(f"number {clip}")

    def config(self, store: str) -> BuildConfig:
        """The config of today."""
        source = {"kind": "folder", "path": str(self.folder), "dataset": "clips", "gone": self.gone}
        values = {
            "store": str(self.home / store),
            "sources": [source],
            "quantizer": {"centroids": str(self.home / "c.npy")},
            "unit_language": {"vocab_size": self.vocabulary},
            "shards": {"hours": 0.0005},
            "work_units": {"minutes": 0.02, "items": 3},
            "max_reject_ratio": 1.0,
        }
        return check_config(values, "test", self.home)

    @rule(clip=CLIPS, sound=st.integers(0, 5))
    def add_or_replace(self, clip: int, sound: int) -> None:
        """A clip is added, replaced, or healed."""
        self.write(clip, sound)

    @rule(clip=CLIPS, text=st.sampled_from(["mended", "again", ""]))
    def mend(self, clip: int, text: str) -> None:
        """A transcript changes."""
        self.path(clip).with_suffix(".txt").write_text(text)

    @rule(clip=CLIPS, content=st.sampled_from([b"", b"no audio", bytes(5000)]))
    def break_(self, clip: int, content: bytes) -> None:
        """A file becomes unusable."""
        self.path(clip).write_bytes(content)

    @precondition(lambda self: len(list(self.folder.glob("*.wav"))) > 1)
    @rule(clip=CLIPS)
    def delete(self, clip: int) -> None:
        """A clip goes."""
        self.path(clip).unlink(missing_ok=True)

    @rule()
    def move(self) -> None:
        """The source moves, and the times of its files change."""
        self.moves += 1
        self.folder = Path(shutil.copytree(self.folder, self.home / f"speech{self.moves}", copy_function=shutil.copy))

    @rule(vocabulary=st.sampled_from([25, 30]))
    def choose_words(self, vocabulary: int) -> None:
        """Another unit language is wanted."""
        self.vocabulary = vocabulary

    @rule(step=st.sampled_from(["ingest", "quantize", "encode", "shard"]))
    def kill(self, step: str) -> None:
        """A build ends after one of its steps."""
        if self.usable():
            run_until(self.config("store"), QUIET, step)

    @precondition(lambda self: (self.home / "store" / "manifests").exists() and self.forgotten < 3)
    @rule(clip=CLIPS)
    def forget(self, clip: int) -> None:
        """Somebody withdraws a clip, which may be there, go and come back, or come later."""
        self.forgotten += 1
        name = f"clips/clip{clip}.wav"
        with suppress(UserError):  # nothing would be left
            forget(str(self.home / "store"), Wanted(ids=frozenset({name})), "a letter", QUIET)
            self.withdrawn.add(name)

    def usable(self) -> bool:
        """Whether there is enough speech for a build."""
        return sum(path.stat().st_size > 10_000 for path in self.folder.glob("*.wav")) >= 2

    @rule()
    def night(self) -> None:
        """Build, and compare with a corpus that is built from scratch."""
        if not self.usable():
            return
        self.builds += 1
        if (lists := self.home / "store" / "suppressed").exists():
            shutil.copytree(lists, self.home / f"fresh{self.builds}" / "suppressed")
        try:
            fresh = build(self.config(f"fresh{self.builds}"), QUIET).version
        except UserError:  # all speech is withdrawn
            with pytest.raises(UserError):
                build(self.config("store"), QUIET)
            return
        version = build(self.config("store"), QUIET).version
        for table in ("utterances", "rejects", "units", "unit_language", "s2t", "t2c", "echo"):
            assert rows(version, table) == rows(fresh, table), table
            assert self.withdrawn.isdisjoint(rows(version, table))
        assert version.statistics["shared_audio"] == fresh.statistics["shared_audio"]
        assert list(verify(Store.open(version.store), version)) == []
        assert not build(self.config("store"), QUIET).new
        shutil.rmtree(self.home / f"fresh{self.builds}")


Histories.TestCase.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=NIGHTS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    database=None,
    derandomize="HISTORIES" not in os.environ,
)
TestHistories = Histories.TestCase
