"""`echox files`: paths of one version, for other programs."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq

from storage.versions import resolve
from tests.flows.conftest import Echox


def test_paths_are_those_of_one_version_and_nothing_else_is_printed(store: Path, echox: Echox, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "a folder [1]"))
    shutil.copy(next((copy / "data" / "units").iterdir()), copy / "data" / "units" / "unfinished.parquet")
    shown = echox("files", f"{copy}@1", "units")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.endswith("\n")
    paths = shown.stdout.splitlines()
    assert paths == [f"{copy}/{file.path}" for file in resolve(copy)[1].files("units")]
    assert sum(pq.read_table(path).num_rows for path in paths) == 9
    assert sum(1 for _ in (copy / "data" / "units").iterdir()) == len(paths) + 1


def test_files_of_a_bucket_have_urls(store: Path, echox: Echox, s3_bucket: str) -> None:
    assert echox("copy", store, s3_bucket).returncode == 0
    (path,) = echox("files", s3_bucket, "t2c").stdout.splitlines()
    assert path.startswith(f"{s3_bucket}/training/t2c/")


def test_files_for_programs(store: Path, echox: Echox) -> None:
    shown = echox("files", store, "rejects", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    values = json.loads(shown.stdout)
    assert (values["store"], values["version"], values["table"]) == (str(store), 1, "rejects")
    assert sum(file["rows"] for file in values["files"]) == 2
    assert all(Path(file["url"]).stat().st_size == file["bytes"] for file in values["files"])


def test_an_unknown_table_is_a_mistake(store: Path, echox: Echox) -> None:
    shown = echox("files", store, "words")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("error: no table 'words'; there are echo, rejects, ")


def test_the_folder_of_tables_says_how_to_list_them(store: Path) -> None:
    assert "echox files STORE@VERSION TABLE" in (store / "data" / "README.txt").read_text()
