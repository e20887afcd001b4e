"""Builds from an HTTP server that fails at times: nothing is rejected for it, and the next build goes on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import kind_of
from pipelines.readers import Item
from pipelines.readers.base import Reader, read_source
from pipelines.readers.folder import FolderReader
from pipelines.readers.manifest import ManifestReader
from storage.store import Store
from storage.tables import read_table
from tests.flaky import Fault, FlakyServer, Plan, always, once, serving, sometimes
from tests.pipelines.conftest import Config, RunBuild
from unitlang.audio import http
from unitlang.errors import Unreachable

pytestmark = pytest.mark.slow


@pytest.fixture
def server(speech: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyServer]:
    """A server of speech in a folder with its manifest; clients lose patience soon."""
    monkeypatch.setattr(http, "PAUSES", (0.01,) * 4)
    http.PatientHTTP.clear_instance_cache()
    with serving() as server:
        server.files = {f"/set/{path.name}": path.read_bytes() for path in speech.iterdir()}
        rows = [json.dumps({"audio": path.name, "text": path.stem}) for path in sorted(speech.glob("*.wav"))]
        server.files["/set/m.jsonl"] = "\n".join(rows).encode()
        yield server
    http.PatientHTTP.clear_instance_cache()


def sources(server: FlakyServer) -> tuple[Reader, ...]:
    return (
        FolderReader(path=f"{server.url}/set", dataset="d"),
        ManifestReader(path=f"{server.url}/set/m.jsonl", dataset="d"),
    )


@pytest.mark.parametrize("fault", [403, 429, 500, 503, "reset", "half"])
def test_sources_are_listed_whole_or_not_at_all(server: FlakyServer, fault: Fault) -> None:
    for source in sources(server):
        whole = list(read_source(source, 0))
        assert len(whole) == 12
        assert all(isinstance(entry, Item) and entry.text for entry in whole)
        for plan in (once(fault), sometimes(fault)):
            server.plan = plan
            server.asked.clear()
            assert list(read_source(source, 0)) == whole
        server.plan = always(fault)
        with pytest.raises(Unreachable, match=rf"sources\[0\] \(d\): {server.url}/set"):
            list(read_source(source, 0))
        server.plan = lambda _path, _number: None


def test_a_text_that_cannot_be_fetched_stops_the_listing(server: FlakyServer) -> None:
    server.plan = lambda path, _number: 503 if path == "/set/clip004.txt" else None
    with pytest.raises(Unreachable, match=r"clip004.txt: the server answers 503"):
        list(read_source(sources(server)[0], 0))


def rejects(store: str) -> list[tuple[str, str]]:
    opened = Store.open(store)
    paths = [path for path in opened.list("data") if "/rejects/" in f"/{path}"]
    rows = [row for path in paths for row in read_table(opened, path).to_pylist()]
    return [(row["source"].rpartition("/")[2], row["reason"]) for row in rows]


def fails_at(step: str) -> Plan:
    """One file that the server refuses to give from the step on."""
    last = {"ingest": 0, "quantize": 10}[step]
    return lambda path, number: 503 if path == "/set/clip007.wav" and number >= last else None


@pytest.mark.parametrize("step", ["ingest", "quantize"])
def test_a_build_stops_and_the_next_one_goes_on(
    server: FlakyServer, config: Config, run_build: RunBuild, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = config | {"sources": [{"kind": "manifest", "path": f"{server.url}/set/m.jsonl", "dataset": "d"}]}
    server.plan = fails_at(step)
    with pytest.raises(Unreachable, match=r"clip007.wav: the server answers 503") as caught:
        run_build(values)
    assert kind_of(caught.value) == "unavailable"
    assert rejects(values["store"]) == []
    asked = server.asked["/set/clip000.wav"]
    server.plan = lambda path, _number: 404 if path == "/set/clip011.wav" and step == "ingest" else None
    run_build(values | {"max_reject_ratio": 0.2})
    assert rejects(values["store"]) == ([("clip011.wav", "missing")] if step == "ingest" else [])
    if step == "quantize":
        assert server.asked["/set/clip000.wav"] - asked < asked  # ingest is not done anew
