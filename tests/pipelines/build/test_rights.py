"""Licences and other rights: facts that a corpus holds, counts and follows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.report.facts import facts
from pipelines.build.build import run_until
from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.diff.compare import compare
from pipelines.sources import audio_files
from storage.receipts import signatures_path
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version

pytestmark = pytest.mark.slow

Config = dict[str, Any]
RunBuild = Callable[..., Built]


@pytest.fixture
def manifest(config: Config, speech: Path, tmp_path: Path) -> Path:
    """A manifest of 12 clips, of which the first 3 have a licence."""
    path = tmp_path / "rows.jsonl"
    rows = [{"audio": str(clip), "license": "CC0" if number < 3 else None} for number, clip in enumerate(clips(speech))]
    write(path, rows)
    config["sources"] = [{"kind": "manifest", "path": str(path), "dataset": "clips"}]
    return path


def clips(speech: Path) -> list[Path]:
    return sorted(speech.glob("*.wav"))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def licences(version: Version) -> list[str | None]:
    store = Store.open(version.store)
    files = [file.path for file in version.files("utterances")]
    rows = [row for path in files for row in read_table(store, path).to_pylist()]
    return [row.get("licence") for row in sorted(rows, key=lambda row: row["utterance_id"])]


def counts(built: Built) -> tuple[int, int, int]:
    return built.changes.new, built.changes.mended, built.changes.kept


def no_decoding(*_: object) -> Any:
    raise AssertionError("audio was decoded")


def test_hours_are_counted_by_licence(config: Config, manifest: Path, run_build: RunBuild) -> None:
    version = run_build(config).version
    store = Store.open(version.store)
    found = facts(store, version)
    assert [*found["licences"]] == ["CC0", "unknown"]
    assert sum(found["licences"].values()) == pytest.approx(found["hours"])
    assert found["datasets"]["clips"]["licences"] == found["licences"]
    assert list(verify(store, version)) == []
    assert not run_build(config).new


@pytest.mark.parametrize("where", ["column", "config"])
def test_a_licence_that_is_stated_later_is_a_mended_fact(
    config: Config, manifest: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    first = run_build(config).version
    monkeypatch.setattr(audio_files, "stream_segments", no_decoding)
    if where == "column":
        write(manifest, [{**row, "license": row["license"] or "MIT"} for row in read(manifest)])
    else:
        config["sources"][0]["licence"] = "MIT"
    built = run_build(config)
    assert counts(built) == (0, 9, 3)
    assert licences(built.version) == ["CC0"] * 3 + ["MIT"] * 9
    store = Store.open(built.version.store)
    assert facts(store, built.version)["licences"].keys() == {"CC0", "MIT"}
    assert list(verify(store, built.version)) == []
    told = compare((store, first), (store, built.version))["entries"]["clips"]
    assert (told["facts"], told["content"], told["changed_facts"]) == (9, 0, {"licence": 9})
    assert not run_build(config).new


def test_files_without_rights_have_no_columns_for_them(config: Config, run_build: RunBuild) -> None:
    version = run_build(config).version
    store = Store.open(version.store)
    assert [*facts(store, version)["licences"]] == ["unknown"]
    assert all("licence" not in read_table(store, file.path).column_names for file in version.files("utterances"))
    assert all("licences" not in receipt.stats for receipt in version.steps["quantize"])


@pytest.fixture
def older(config: Config, manifest: Path, run_build: RunBuild) -> Version:
    """A version of a program that read nothing about rights, of the manifest with them."""
    rows = read(manifest)
    write(manifest, [{"audio": row["audio"]} for row in rows])
    version = run_build(config).version
    store = Store.open(version.store)
    for receipt in version.steps["ingest"]:
        path = signatures_path(receipt.fingerprint)
        values = json.loads(store.get(path))
        del values["rights"]
        store.put(path, json.dumps(values).encode())
    write(manifest, rows)
    return version


def test_an_upgrade_alone_computes_nothing(config: Config, manifest: Path, older: Version, run_build: RunBuild) -> None:
    built = run_build(config)
    assert (built.new, counts(built)) == (False, (0, 0, 12))
    assert not run_build(config).new


def test_after_an_upgrade_changed_entries_get_their_licence_and_the_others_stay(
    config: Config, manifest: Path, older: Version, run_build: RunBuild
) -> None:
    rows = read(manifest)
    write(manifest, [{**rows[0], "text": "mended"}, *rows[1:]])
    built = run_build(config)
    assert counts(built) == (0, 1, 11)
    assert licences(built.version) == ["CC0"] + [None] * 11
    assert not run_build(config).new
    write(manifest, [{**rows[0], "text": "mended", "license": "MIT"}, *rows[1:]])
    built = run_build(config)
    assert (counts(built), licences(built.version)[0]) == ((0, 1, 11), "MIT")


@pytest.mark.parametrize("asked", ["rehash", "config"])
def test_after_an_upgrade_all_get_their_licence_if_asked(
    config: Config, manifest: Path, older: Version, run_build: RunBuild, asked: str
) -> None:
    if asked == "config":
        config["sources"][0]["licence"] = "MIT"
        built = run_build(config)
        assert (counts(built), licences(built.version)) == ((0, 12, 0), ["CC0"] * 3 + ["MIT"] * 9)
    else:
        built = run_build({**config, "run": {"rehash": True}})
        assert (counts(built), licences(built.version)) == ((0, 3, 9), ["CC0"] * 3 + [None] * 9)
    assert not run_build(config).new


def test_a_secret_in_the_config_is_refused(config: Config) -> None:
    config["sources"][0]["source_url"] = "https://user:wherefrom@host/a"
    with pytest.raises(Exception, match=r"sources\[0\]\.source_url") as caught:
        check_config(config, "test", Path.cwd())
    assert "wherefrom" not in str(caught.value)


def test_a_build_that_ended_early_goes_on_with_licences(config: Config, manifest: Path, run_build: RunBuild) -> None:
    run_until(check_config(config, "test", Path.cwd()), Console(quiet=True), "quantize")
    assert licences(run_build(config).version) == ["CC0"] * 3 + [None] * 9
