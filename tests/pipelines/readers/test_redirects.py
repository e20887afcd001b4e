"""Redirects of servers: a confined source asks no other server, whatever its own one says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.build.build import run_until
from pipelines.config.build import check_config
from pipelines.errors import UserError
from pipelines.readers import BadItem
from pipelines.readers.base import Reader, read_source
from pipelines.readers.folder import FolderReader
from pipelines.readers.manifest import ManifestReader
from storage.store import Store
from storage.tables import read_table
from tests.flaky import FlakyServer, serving
from tests.pipelines.conftest import Config, RunBuild
from unitlang.audio import confinement, http


@pytest.fixture
def servers(speech: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FlakyServer, FlakyServer]]:
    """A server of speech with its manifest, and one on another port that has the same files."""
    monkeypatch.setattr(http, "PAUSES", (0.01,) * 2)
    http.PatientHTTP.clear_instance_cache()
    with serving() as server, serving() as other:
        server.files = {f"/set/{path.name}": path.read_bytes() for path in speech.iterdir()}
        rows = [json.dumps({"audio": path.name, "text": path.stem}) for path in sorted(speech.glob("*.wav"))]
        server.files["/set/m.jsonl"] = "\n".join(rows).encode()
        other.files = dict(server.files)
        yield server, other
    http.PatientHTTP.clear_instance_cache()
    confinement.confine(())


Target = Callable[[FlakyServer, FlakyServer], str]
ELSEWHERE: dict[str, Target] = {
    "another port": lambda _, other: f"{other.url}/set/clip003.wav",
    "another scheme": lambda server, _: server.url.replace("http", "https") + "/set/clip003.wav",
    "another host": lambda server, _: server.url.replace("127.0.0.1", "localhost") + "/set/clip003.wav",
    "user info": lambda server, _: server.url.replace("//", "//someone:word@") + "/set/clip004.wav",
    "the own server as user info": lambda server, other: f"{server.url}@{urlsplit(other.url).netloc}/set/clip003.wav",
    "relative to the protocol": lambda _, other: f"//{urlsplit(other.url).netloc}/set/clip003.wav",
    "no URL of a server": lambda _, __: "file:///etc/passwd",
}


def told(store: str) -> list[tuple[str, str]]:
    opened = Store.open(store)
    paths = [path for path in opened.list("data") if "/rejects/" in f"/{path}"]
    return [(row["source"], row["reason"]) for path in paths for row in read_table(opened, path).to_pylist()]


@pytest.mark.parametrize("target", ELSEWHERE.values(), ids=ELSEWHERE)
def test_audio_elsewhere_is_a_reject_and_is_not_asked_for(
    servers: tuple[FlakyServer, FlakyServer], config: Config, run_build: RunBuild, target: Target
) -> None:
    server, other = servers
    server.redirects["/set/clip003.wav"] = target(server, other)
    source = {"kind": "manifest", "path": f"{server.url}/set/m.jsonl", "dataset": "d", "confine": True}
    asked = server.asked["/set/clip004.wav"]
    version = run_build(config | {"sources": [source], "max_reject_ratio": 0.2}).version
    assert told(version.store) == [("clip003.wav", "outside")]
    assert not other.asked
    assert asked == 0


@pytest.mark.parametrize("confine", [False, True])
def test_a_chain_that_comes_back_has_left(
    servers: tuple[FlakyServer, FlakyServer], config: Config, run_build: RunBuild, confine: bool
) -> None:
    server, other = servers
    server.redirects["/set/clip003.wav"] = f"{other.url}/back"
    other.redirects["/back"] = f"{server.url}/set/clip004.wav"
    source = {"kind": "manifest", "path": f"{server.url}/set/m.jsonl", "dataset": "d", "confine": confine}
    version = run_build(config | {"sources": [source], "max_reject_ratio": 0.2}).version
    assert told(version.store) == ([("clip003.wav", "outside")] if confine else [])
    assert bool(other.asked) == (not confine)


@pytest.mark.parametrize(
    "target", ["/set/clip004.wav", "clip004.wav", "{server}/set/clip004.wav", "//{netloc}/set/clip004.wav?signed=1"]
)
def test_redirects_of_a_server_to_itself_are_followed(
    servers: tuple[FlakyServer, FlakyServer], config: Config, run_build: RunBuild, target: str
) -> None:
    server, _ = servers
    server.redirects["/set/clip003.wav"] = "/hop"
    server.redirects["/hop"] = target.format(server=server.url, netloc=urlsplit(server.url).netloc)
    if target == "clip004.wav":  # starts at the folder of the hop
        server.files["/clip004.wav"] = server.files["/set/clip004.wav"]
    source = {"kind": "manifest", "path": f"{server.url}/set/m.jsonl", "dataset": "d", "confine": True}
    version = run_build(config | {"sources": [source]}).version
    assert told(version.store) == []


def test_audio_that_moves_elsewhere_after_ingest_is_not_followed(
    servers: tuple[FlakyServer, FlakyServer], config: Config, run_build: RunBuild
) -> None:
    server, other = servers
    source = {"kind": "manifest", "path": f"{server.url}/set/m.jsonl", "dataset": "d", "confine": True}
    values = config | {"sources": [source]}
    run_until(check_config(values, "test", Path.cwd()), Console(quiet=True), "ingest")
    server.redirects["/set/clip003.wav"] = f"{other.url}/set/clip003.wav"
    with pytest.raises(UserError, match=r"clip003.wav: was there when it was ingested, and now `confine` is set"):
        run_build(values)
    assert not other.asked


def reasons(source: Reader) -> list[str]:
    return [entry.reason for entry in read_source(source, 0) if isinstance(entry, BadItem)]


@pytest.mark.parametrize("confine", [False, True])
def test_listings_texts_and_manifests_elsewhere(servers: tuple[FlakyServer, FlakyServer], confine: bool) -> None:
    server, other = servers
    server.redirects["/set/clip003.txt"] = f"{other.url}/set/clip003.txt"
    folder = FolderReader(path=f"{server.url}/set", dataset="d", confine=confine)
    assert reasons(folder) == (["outside"] if confine else [])
    server.redirects["/all/"] = server.redirects["/all"] = f"{other.url}/set/"
    server.redirects["/all.jsonl"] = f"{other.url}/set/m.jsonl"
    if confine:
        for lost in (
            FolderReader(path=f"{server.url}/all", dataset="d", confine=True),
            ManifestReader(path=f"{server.url}/all.jsonl", dataset="d", confine=True),
        ):
            with pytest.raises(UserError, match=r"all.*`confine` is set, and the server redirects to another scheme"):
                list(read_source(lost, 0))
    else:
        assert len(list(read_source(ManifestReader(path=f"{server.url}/all.jsonl", dataset="d"), 0))) == 12
    assert bool(other.asked) == (not confine)


def test_audio_in_tables_elsewhere(
    servers: tuple[FlakyServer, FlakyServer], config: Config, run_build: RunBuild, tmp_path: Path
) -> None:
    server, other = servers
    audio = [{"bytes": server.files[f"/set/clip{n:03d}.wav"], "path": None} for n in range(4)]
    pq.write_table(pa.table({"audio": audio, "text": list("abcd")}), tmp_path / "t.parquet")
    other.files["/t.parquet"] = (tmp_path / "t.parquet").read_bytes()
    server.redirects["/t.parquet"] = f"{other.url}/t.parquet"
    source = {"kind": "hf_parquet", "path": f"{server.url}/t.parquet", "dataset": "d"}
    with pytest.raises(UserError, match=r"t.parquet.*`confine` is set"):
        run_build(config | {"sources": [source | {"confine": True}]})
    assert not other.asked
    assert told(run_build(config | {"sources": [source]}).version.store) == []
