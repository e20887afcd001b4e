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
"""Patterns of the files that are damaged, one file each: `list` is that of the shards' receipts, which all but `encode`
read; `digests` are what the next build can do without."""


@dataclass(frozen=True)
class Site:
    """A copy of a corpus to damage.

    Attributes:
        folder: folder of sources, config and store.
        clip: a clip of the sources.
    """

    folder: Path
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
    "build more": {"version", "list", "rejects", *ARTIFACTS},
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


ALL = itertools.product(COMMANDS, FILES, DAMAGES)
FATAL = [pytest.param(*case, id="-".join(case)) for case in ALL if must_fail(*case)]


def site_of(config: Path, store: Path, folder: Path) -> Site:
    """A copy of sources, config and store; the paths in its tables are those of the sources that were copied."""
    home = Path(shutil.copytree(config.parent, folder / "site"))
    values = json.loads((home / "build.yaml").read_text())
    for source in values["sources"]:
        source["path"] = str(config.parent / source["path"]) if source["dataset"] != "read" else source["path"]
    assert store.parent == config.parent
    return Site(home, home / "read" / "0.wav")


def victim_of(store: Path, kind: str) -> Path:
    """The first file of a kind; of the lists, which have no names but their hashes, the one that the kind means."""
    if kind not in {"list", "digests"}:
        return min(store.glob(FILES[kind]))
    version = json.loads((store / "manifests/00000001.json").read_text())
    layout = version["steps"]["shard"] if kind == "list" else version["entries"]
    return store / f"lists/{layout['lists'][0]}.jsonl"


@pytest.mark.parametrize(("command", "kind", "damage"), FATAL)
def test_a_damaged_file_is_named_by_every_command_that_reads_it(
    echox: Echox, config: Path, store: Path, tmp_path: Path, command: str, kind: str, damage: str
) -> None:
    site = site_of(config, store, tmp_path)
    victim = victim_of(site.store, kind)
    DAMAGES[damage](victim)
    done = COMMANDS[command](echox, site)
    assert "Traceback" not in done.stderr
    code = 1 if command == "verify" and kind not in {"version", "list"} else 2
    assert done.returncode == code, (done.stdout, done.stderr)
    if (kind, damage) == ("version", "missing"):
        assert f"error: {site.store} has no corpus version yet" in done.stderr
        return
    named = [line for line in done.stderr.splitlines() if str(victim) in line]
    assert named, done.stderr
    if command != "verify":
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == named


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kinds", [{"digests"}, FILES.keys() - {"digests"}], ids=["digests", "others"])
def test_damaged_files_that_a_command_does_not_read_do_not_matter(
    echox: Echox, config: Path, store: Path, tmp_path: Path, command: str, damage: str, kinds: set[str]
) -> None:
    """Without digests, builds read the tables that these are made of: so they are damaged by themselves."""
    site = site_of(config, store, tmp_path)
    victims = [victim_of(site.store, kind) for kind in kinds if not must_fail(command, kind, damage)]
    for victim in victims:
        DAMAGES[damage](victim)
    done = COMMANDS[command](echox, site)
    assert done.returncode == 0, done.stderr
