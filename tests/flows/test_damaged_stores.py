"""Every command on a version with a damaged file either does right or names the file in one line and exits with 2.

The matrix is: a file of each kind, missing or with one flipped bit, and each command. `verify` exits with 1 and names
it too.
"""

import itertools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.conftest import Echox, Process

pytestmark = pytest.mark.slow

QUICK = (
    "--set=schedule={steps: 4, log_every: 4, validate_every: 4, checkpoint_every: 4}",
    "--set=data.max_tokens=2048",
)
FILES: Mapping[str, str] = {
    "version": "manifests/00000001.json",
    "list": "lists/*.jsonl",
    "digests": "lists/*.jsonl",
    "card": "artifacts/quantizer/*/card.json",
    "centroids": "artifacts/quantizer/*/centroids.safetensors",
    "unit language": "artifacts/unit_language/*/unit_language.model",
    "utterances": "data/utterances/*.parquet",
    "rejects": "data/rejects/*.parquet",
    "units": "data/units/*.parquet",
    "words": "data/unit_language/*.parquet",
    "shard s2t": "training/s2t/*.parquet",
    "shard t2c": "training/t2c/*.parquet",
}
"""Patterns of the files that are damaged, one file each; `digests` are what the next build can do without."""


@dataclass(frozen=True)
class Site:
    """A copy of a corpus to damage.

    Attributes:
        folder: folder of sources, config and store.
        victim: the file to damage.
        clip: a clip of the sources.
    """

    folder: Path
    victim: Path
    clip: Path

    @property
    def store(self) -> Path:
        return self.folder / "corpus"


def flip(path: Path) -> None:
    """Change one bit in the middle of a file; in JSON, of a letter or digit, for white space means nothing."""
    data = bytearray(path.read_bytes())
    middle = next(i for i in range(len(data) // 2, len(data)) if path.suffix != ".json" or chr(data[i]).isalnum())
    data[middle] ^= 1
    path.write_bytes(data)


DAMAGES: Mapping[str, Callable[[Path], None]] = {"missing": Path.unlink, "flipped": flip}


def inspect(echox: Echox, site: Site) -> Process:
    return echox("inspect", site.store)


def build(echox: Echox, site: Site) -> Process:
    return echox("build", site.folder / "build.yaml", "--set", "max_reject_ratio=0.9")


def build_more(echox: Echox, site: Site) -> Process:
    shutil.copy(site.clip, site.folder / "read" / "more.wav")
    return echox("build", site.folder / "build.yaml", "--set", "max_reject_ratio=0.9")


def encode(echox: Echox, site: Site) -> Process:
    return echox("encode", site.clip, "--store", site.store)


def verify(echox: Echox, site: Site) -> Process:
    return echox("verify", site.store)


def train(stage: str) -> Callable[[Echox, Site], Process]:
    def run(echox: Echox, site: Site) -> Process:
        out = site.folder / "run"
        return echox("train", stage, "--corpus", site.store, "--architecture", "tiny", "--out", out, *QUICK)

    return run


COMMANDS: Mapping[str, Callable[[Echox, Site], Process]] = {
    "inspect": inspect,
    "build": build,
    "build more": build_more,
    "encode": encode,
    "verify": verify,
    "train s2t": train("s2t"),
    "train t2c": train("t2c"),
}
ARTIFACTS = {"card", "centroids", "unit language"}
SHARDS = {"shard s2t", "shard t2c"}
TABLES = {"utterances", "rejects", "units", "words"}
READS: Mapping[str, set[str]] = {
    "inspect": {"version", "list", "card", "rejects"},
    "build": {"version", "list", "rejects", *ARTIFACTS},
    "build more": {"version", "list", "rejects", *ARTIFACTS, "utterances"},
    "encode": {"version", *ARTIFACTS},
    "verify": set(FILES),
    "train s2t": {"version", "list", *SHARDS, "unit language"},
    "train t2c": {"version", "list", "shard t2c", "unit language"},
}
"""Kinds of files that a command reads; the tokenizer of a tiny training is learnt from the texts of all shards."""


def must_fail(command: str, kind: str, damage: str) -> bool:
    """Whether a command needs the damaged file; builds need to find every file of the version, and read some of them.

    Without the file of its only version a store is empty, so that a build commits that version again.
    """
    if (kind, damage) == ("version", "missing"):
        return not command.startswith("build")
    whole = FILES.keys() - {"digests"}
    needed = whole if command.startswith("build") else SHARDS if command.startswith("train") else set[str]()
    return kind in READS[command] or (damage == "missing" and kind in needed)


CASES = [
    pytest.param(command, kind, damage, id=f"{command}-{kind}-{damage}")
    for command, kind, damage in itertools.product(COMMANDS, FILES, DAMAGES)
]
PAIRS = [case for number, case in enumerate(CASES) if number % 7 == 3 and not str(case.id).startswith("train")]
"""Each command with some kinds of files, and each kind with some commands, for the normal run."""


def site_of(config: Path, store: Path, folder: Path, kind: str) -> Site:
    """A copy of sources, config and store; the paths in its tables are those of the sources that were copied."""
    home = Path(shutil.copytree(config.parent, folder / "site"))
    values = json.loads((home / "build.yaml").read_text())
    for source in values["sources"]:
        source["path"] = str(config.parent / source["path"]) if source["dataset"] != "read" else source["path"]
    assert store.parent == config.parent
    found = sorted((home / "corpus").glob(FILES[kind]))
    victim = next(path for path in found if (b'"etag"' in path.read_bytes()) == (kind == "digests"))
    return Site(home, victim, home / "read" / "0.wav")


def check(echox: Echox, site: Site, command: str, kind: str, damage: str) -> None:
    DAMAGES[damage](site.victim)
    done = COMMANDS[command](echox, site)
    assert "Traceback" not in done.stderr
    if not must_fail(command, kind, damage):
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == (1 if command == "verify" and kind not in {"version", "list"} else 2), (
        done.stdout,
        done.stderr,
    )
    if (kind, damage) == ("version", "missing"):
        assert f"error: {site.store} has no corpus version yet" in done.stderr
        return
    named = [line for line in done.stderr.splitlines() if str(site.victim) in line]
    assert named, done.stderr
    if command != "verify":
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == named


@pytest.mark.parametrize(("command", "kind", "damage"), PAIRS)
def test_a_damaged_file_is_named(
    echox: Echox, config: Path, store: Path, tmp_path: Path, command: str, kind: str, damage: str
) -> None:
    check(echox, site_of(config, store, tmp_path, kind), command, kind, damage)


@pytest.mark.parametrize(("command", "kind", "damage"), CASES)
def test_every_damaged_file_is_named_by_every_command(
    echox: Echox, config: Path, store: Path, tmp_path: Path, command: str, kind: str, damage: str
) -> None:
    check(echox, site_of(config, store, tmp_path, kind), command, kind, damage)
