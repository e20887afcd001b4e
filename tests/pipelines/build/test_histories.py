"""Random histories of a source: after each night the corpus equals one that is built from scratch.

    HISTORIES=1000 SEED=7 uv run pytest -m slow -n 16 tests/pipelines/build/test_histories.py
    python tests/pipelines/build/test_histories.py --histories 1000 --seed 7 -n 16

Both try so many histories, in parts of `PART` side by side, and print the steps of a short one of each part that fails.
The second needs no Ray: numpy, pyarrow, pydantic, obstore, av, faiss, torch, sentencepiece, soundfile and their like.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from traceback import format_exception
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from rich.console import Console

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))

import storage.store
from pipelines.build.build import build, run_until
from pipelines.build.collect import collect, to_expire
from pipelines.build.verify import verify
from pipelines.config.build import BuildConfig, check_config
from pipelines.errors import UserError
from pipelines.forget.absent import said_by_others, search
from pipelines.forget.erase import erase
from pipelines.forget.forget import forget
from pipelines.forget.traces import Traces
from pipelines.forget.wanted import Wanted
from pipelines.steps import table_steps
from storage.collecting.marks import FOLDER as MARKS
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version, latest, load, version_numbers
from tests.speech import RATE, voice
from unitlang.errors import UnitlangError

HISTORIES = int(os.environ.get("HISTORIES", "8"))
SEED = os.environ.get("SEED")
PART = 25
"""Histories of one part; each part has a seed of its own."""
STEPS = 10
QUIET = Console(quiet=True)
CLIPS = st.integers(0, 7)
SOUNDS = [voice(0.4 + 0.1 * number, number) for number in range(6)]
DATASETS = ["clips", "voices", "tapes"]
TABLES = ("utterances", "rejects", "units", "unit_language", "s2t", "t2c", "echo")
STEP = st.sampled_from(["ingest", "quantize", "encode", "shard"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add_or_replace"), CLIPS, st.integers(0, 5)),
        st.tuples(st.just("mend"), CLIPS, st.sampled_from(["mended", "again", ""])),
        st.tuples(st.just("break_"), CLIPS, st.sampled_from([b"", b"no audio", bytes(5000)])),
        st.tuples(st.just("delete"), CLIPS),
        st.tuples(st.just("move")),
        st.tuples(st.just("rename"), st.sampled_from(DATASETS)),
        st.tuples(st.just("choose_words"), st.sampled_from([25, 30])),
        st.tuples(st.just("choose_shards"), st.sampled_from([0.0002, 0.0005]), st.integers(0, 1)),
        st.tuples(st.just("choose_work_units"), st.sampled_from([0.01, 0.02]), st.integers(2, 4)),
        st.tuples(st.just("upgrade"), STEP),
        st.tuples(st.just("choose_recompute"), st.sets(STEP)),
    ),
    min_size=1,
    max_size=5,
)
"""Methods of `Histories` with their arguments: what changes by day."""
NEEDS_THE_SOURCES = ("recompute: ingest reads all speech again", "was there when it was ingested, and now")
"""Parts of the messages of a build that would compute anew what its sources list no more."""
DEATHS = st.integers(0, 60)
"""Writes and removals that a program is allowed before it dies."""

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """The program is dead: no handler stops it, and it writes nothing more."""


@contextmanager
def dying(store: Path, after: int) -> Generator[None]:
    """Kill the program inside at its next write or removal after so many; what it was writing stays unfinished."""
    real = storage.store.write_file, Store.delete
    done = count()

    def write(path: Path, data: bytes, *, replace: bool) -> None:
        if (number := next(done)) >= after:
            if number == after and path.parent.is_dir():
                path.with_name(f"{path.name}#{number}").write_bytes(data[: len(data) // 2])
            raise Killed
        real[0](path, data, replace=replace)

    def delete(self: Store, path: str) -> None:
        if next(done) >= after:
            raise Killed
        real[1](self, path)

    storage.store.write_file, Store.delete = write, delete  # type: ignore[method-assign]
    try:
        yield
    except Killed:
        bury(store)
    finally:
        storage.store.write_file, Store.delete = real  # type: ignore[method-assign]


def bury(store: Path) -> None:
    """Let the marks in a store be those of a process that does not run any more."""
    for path in (store / MARKS).glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"process": f"{2**22 + 1} 1"}))


class Histories(RuleBasedStateMachine):
    """A folder of clips that changes, and a corpus that follows it."""

    @initialize(gone=st.sampled_from(["remove", "keep"]))
    def begin(self, gone: str) -> None:
        """Make a source with a few clips, and a codebook that all builds use."""
        self.home = Path(tempfile.mkdtemp(prefix="echox-history-"))
        self.store = self.home / "store"
        self.listed = self.home / "listed"
        self.moves = self.builds = self.forgotten = 0
        self.withdrawn, self.silenced = set[str](), set[str]()
        self.revisions = {name: step.revision for name, step in table_steps().items()}
        self.gone, self.dataset = gone, DATASETS[0]
        self.sections: dict[str, Any] = {
            "unit_language": {"vocab_size": 30},
            "shards": {"hours": 0.0005},
            "work_units": {"minutes": 0.02, "items": 3},
        }
        self.recompute = list[str]()
        self.folder = self.home / "speech0"
        self.folder.mkdir()
        np.save(self.home / "c.npy", np.random.default_rng(0).standard_normal((12, 39)).astype(np.float32) * 20)
        for clip in range(3):
            self.write(clip, clip)

    def teardown(self) -> None:
        """Remove everything."""
        if hasattr(self, "home"):
            self.upgraded(self.revisions)
            shutil.rmtree(self.home, ignore_errors=True)

    def upgraded(self, revisions: dict[str, int]) -> None:
        """Let the program have these revisions of the steps."""
        for name, revision in revisions.items():
            table_steps()[name].revision = revision

    def path(self, clip: int) -> Path:
        """Path of a clip."""
        return self.folder / f"clip{clip}.wav"

    def write(self, clip: int, sound: int) -> None:
        """Write or replace the audio of a clip."""
        soundfile.write(self.path(clip), SOUNDS[sound], RATE, subtype="PCM_16")
        text = self.path(clip).with_suffix(".txt")
        if not text.exists():
            text.write_text(f"number {clip}")

    @property
    def version(self) -> Version | None:
        """The last version."""
        return latest(Store.open(self.store)) if self.store.exists() else None

    @property
    def known_as(self) -> str:
        """Name of the dataset in the last version."""
        return self.version.config["sources"][0]["dataset"] if self.version else self.dataset

    def config(self, **run: Any) -> BuildConfig:
        """The config of today."""
        source = {"kind": "folder", "path": str(self.folder), "dataset": self.dataset, "gone": self.gone}
        if self.known_as != self.dataset:
            source["renamed_from"] = self.known_as
        values = {
            "store": str(self.store),
            "sources": [source],
            "quantizer": {"centroids": str(self.home / "c.npy")},
            **self.sections,
            "max_reject_ratio": 1.0,
            "recompute": self.recompute,
            "run": run,
        }
        return check_config(values, "test", self.home)

    def happen(self, changes: Sequence[tuple[Any, ...]]) -> None:
        """Let the source, the config and the program change."""
        for name, *values in changes:
            getattr(self, name)(*values)

    def add_or_replace(self, clip: int, sound: int) -> None:
        """A clip is added, replaced, restored or healed."""
        self.write(clip, sound)

    def mend(self, clip: int, text: str) -> None:
        """A transcript changes."""
        self.path(clip).with_suffix(".txt").write_text(text)

    def break_(self, clip: int, content: bytes) -> None:
        """A file becomes unusable."""
        self.path(clip).write_bytes(content)

    def delete(self, clip: int) -> None:
        """A clip goes, unless it is the last one."""
        if len(list(self.folder.glob("*.wav"))) > 1:
            self.path(clip).unlink(missing_ok=True)

    def move(self) -> None:
        """The source moves, and the times of its files change."""
        self.moves += 1
        self.folder = Path(shutil.copytree(self.folder, self.home / f"speech{self.moves}", copy_function=shutil.copy))

    def rename(self, dataset: str) -> None:
        """The dataset gets another name."""
        self.dataset = dataset

    def choose_words(self, vocabulary: int) -> None:
        """Another unit language is wanted."""
        self.sections["unit_language"] = {"vocab_size": vocabulary}

    def choose_shards(self, hours: float, order: int) -> None:
        """Other shards are wanted."""
        self.sections["shards"] = {"hours": hours, "seed": order}

    def choose_work_units(self, minutes: float, items: int) -> None:
        """Other work units are wanted."""
        self.sections["work_units"] = {"minutes": minutes, "items": items}

    def upgrade(self, step: str) -> None:
        """A newer program has a higher revision of a step."""
        self.upgraded({step: table_steps()[step].revision + 1})

    def choose_recompute(self, steps: set[str]) -> None:
        """Work of earlier revisions is to be done again, from now on or no more."""
        self.recompute = sorted(steps)

    @rule(changes=CHANGES, step=STEP)
    def stop(self, changes: Sequence[tuple[Any, ...]], step: str) -> None:
        """A build ends after one of its steps."""
        self.happen(changes)
        if self.usable():
            try:
                run_until(self.config(), QUIET, step)
            except (UserError, UnitlangError) as error:
                self.check_refusal(error)

    @rule(changes=CHANGES, after=DEATHS)
    def kill_build(self, changes: Sequence[tuple[Any, ...]], after: int) -> None:
        """A build is killed."""
        self.happen(changes)
        if self.usable():
            with dying(self.store, after):
                self.built()

    @precondition(lambda self: self.version is not None and self.forgotten < 3)
    @rule(clip=CLIPS, after=st.none() | DEATHS)
    def forget(self, clip: int, after: int | None) -> None:
        """Somebody withdraws a clip that may be there, go and come back, or come later; twice after a kill."""
        self.forgotten += 1
        name = f"{self.known_as}/clip{clip}.wav"
        audio = {row["checksum"] for version in self.versions() if (row := rows(version, "utterances").get(name))}
        wanted = str(self.store), Wanted(ids=frozenset({name})), "a letter", QUIET
        with suppress(UserError):  # nothing would be left
            if after is not None:
                with dying(self.store, after):
                    forget(*wanted)
            forget(*wanted)
            self.withdrawn.add(self.path(clip).name)
            self.silenced |= audio

    @precondition(lambda self: self.version is not None)
    @rule(
        keep=st.none() | st.integers(1, 2),
        older_than=st.none() | st.just(0.0),
        grace=st.sampled_from([0.0, 0.0, 3600.0]),
        after=st.none() | DEATHS,
    )
    def gc(self, keep: int | None, older_than: float | None, grace: float, after: int | None) -> None:
        """Old versions and what nothing refers to are removed, perhaps not to the end."""
        opened = Store.open(self.store)
        with dying(self.store, 10**9 if after is None else after):
            collect(opened, to_expire(opened, keep, older_than), grace_seconds=grace)
        self.all_whole()

    @precondition(lambda self: self.withdrawn and self.version is not None)
    @rule(after=st.none() | DEATHS)
    def erase(self, after: int | None) -> None:
        """Every file that holds withdrawn speech is removed, perhaps not to the end."""
        with suppress(UserError), dying(self.store, 10**9 if after is None else after):  # a build must end first
            erase(str(self.store))
            self.check_absent()
        self.all_whole()

    def check_absent(self) -> None:
        """No file of the store holds withdrawn speech."""
        opened = Store.open(self.store)
        traces = Traces.of(opened)
        traces = traces.besides(said_by_others(opened, traces))
        assert [(file.path, file.found) for file in search(opened, traces) if file.found] == []

    def all_whole(self) -> None:
        """All versions are whole."""
        for version in self.versions():
            assert list(verify(Store.open(self.store), version)) == [], version.number

    def versions(self) -> Iterator[Version]:
        """The versions of the corpus."""
        opened = Store.open(self.store)
        return (load(opened, number) for number in version_numbers(opened))

    def usable(self) -> bool:
        """Whether there is enough speech for a build."""
        return sum(path.stat().st_size > 10_000 for path in self.folder.glob("*.wav")) >= 2

    def built(self, **run: bool) -> Version | None:
        """The version of a build; None if it refuses."""
        try:
            return build(self.config(**run), QUIET).version
        except (UserError, UnitlangError) as error:
            self.check_refusal(error)
            return None

    def check_refusal(self, error: Exception) -> None:
        """A build may refuse to read what its source does not list any more, or to learn from too little speech."""
        if "has learnt almost nothing" in str(error):
            return
        asked = self.recompute and any(part in str(error) for part in NEEDS_THE_SOURCES)
        if self.gone == "keep" and asked:
            self.recompute = []
        elif not self.withdrawn:
            raise error

    @rule(changes=CHANGES, rehash=st.booleans(), retry=st.booleans())
    def night_with(self, changes: Sequence[tuple[Any, ...]], rehash: bool, retry: bool) -> None:
        """Build with other options."""
        self.night(changes, rehash=rehash, retry_rejects=retry)

    @rule(changes=CHANGES)
    def night(self, changes: Sequence[tuple[Any, ...]], **run: bool) -> None:
        """Build, and compare with a corpus that is built from scratch."""
        self.happen(changes)
        if not self.usable():
            return
        known_as = self.known_as
        version = self.built(**run)
        if version is None:
            return
        self.note_listed(known_as != self.dataset)
        fresh = self.from_scratch(version)
        for table in TABLES:
            assert rows(version, table) == rows(fresh, table), table
            assert self.withdrawn.isdisjoint(name.partition("/")[2] for name in rows(version, table))
        assert self.silenced.isdisjoint(row["checksum"] for row in rows(version, "utterances").values())
        assert version.statistics["shared_audio"] == fresh.statistics["shared_audio"]
        assert list(verify(Store.open(self.store), version)) == []
        assert not build(self.config(), QUIET).new
        shutil.rmtree(fresh.store)

    def note_listed(self, renamed: bool) -> None:
        """Keep a copy of what the sources list, without what they list no more if that goes."""
        self.listed.mkdir(exist_ok=True)
        for path in self.listed.glob("*.wav"):
            is_reject = path.stat().st_size < 10_000
            if not (self.folder / path.name).exists() and (self.gone == "remove" or (renamed and is_reject)):
                path.unlink()
        for path in self.folder.glob("*.wav"):
            for file in (path, path.with_suffix(".txt")):
                shutil.copy(file, self.listed) if file.exists() else None

    def from_scratch(self, version: Version) -> Version:
        """A corpus of all that a version is to hold, with its quantizer and unit language."""
        self.builds += 1
        fresh = self.home / f"fresh{self.builds}"
        if (lists := self.store / "suppressed").exists():
            shutil.copytree(lists, fresh / "suppressed")
        for name in self.withdrawn:  # under whatever name the dataset had; a new store knows only the present one
            (self.listed / name).unlink(missing_ok=True)
        values = {
            "store": str(fresh),
            "sources": [{"kind": "folder", "path": str(self.listed), "dataset": self.dataset}],
            "artifacts_from": f"{self.store}@{version.number}",
            **{name: section for name, section in self.sections.items() if name != "unit_language"},
            "max_reject_ratio": 1.0,
        }
        return build(check_config(values, "test", self.home), QUIET).version


def rows(version: Version, table: str) -> dict[str, dict[str, Any]]:
    """Rows by id, without the key of their entry, which depends on the history."""
    store = Store.open(version.store)
    key = "example_id" if table in ("s2t", "t2c", "echo") else "utterance_id"
    found = [row for file in version.files(table) for row in read_table(store, file.path).to_pylist()]
    made = {row[key]: {name: value for name, value in row.items() if name != "source_key"} for row in found}
    assert len(made) == len(found)
    return made


def parts(histories: int) -> list[tuple[int, int]]:
    """Number and size of each part."""
    return [(first // PART, min(PART, histories - first)) for first in range(0, histories, PART)]


def try_part(part: int, size: int, start: str | None = SEED) -> None:
    """Try one part of the histories."""
    logging.disable(logging.WARNING)
    machine = seed(f"{start or 0} {part}")(type("Part", (Histories,), {}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=size,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            database=None,
        ),
    )


@pytest.mark.parametrize(("part", "size"), parts(HISTORIES))
def test_a_corpus_after_any_history_equals_one_from_scratch(part: int, size: int) -> None:
    try_part(part, size)


def main() -> None:
    """Try histories in processes side by side; the exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=HISTORIES)
    parser.add_argument("--seed", default=SEED or "0")
    parser.add_argument("-n", type=int, default=1, dest="processes", help="processes side by side")
    options = parser.parse_args()
    failed = 0
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        jobs = {pool.submit(try_part, part, size, options.seed): part for part, size in parts(options.histories)}
        for done in as_completed(jobs):
            error = done.exception()
            failed += error is not None
            print(f"part {jobs[done]}:", "".join(format_exception(error)) if error else "well")  # noqa: T201
    print(f"{options.histories} histories from seed {options.seed}: {failed} of {len(jobs)} parts failed")  # noqa: T201
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
