"""Durability and manners of the local writer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import AlreadyExists, StorageError
from storage.local import write_file
from storage.store import Store


def test_a_file_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for create in (False, True):
        with pytest.raises(StorageError, match="is a file, not a store"):
            Store.open(tmp_path / "file", create=create)


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot"):
        Store.open(tmp_path / "file" / "store", create=True)
    store = Store.open(tmp_path)
    with pytest.raises(StorageError, match="cannot write"):
        store.put("file/inside", b"")


def test_failed_writes_leave_nothing(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"1", replace=False)
    with pytest.raises(AlreadyExists):
        write_file(tmp_path / "x", b"2", replace=False)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        write_file(tmp_path / "folder", b"2", replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "x"]


def test_leftovers_of_killed_writers_are_not_listed(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put("a/b", b"1")
    (tmp_path / "a" / "c#123456").write_bytes(b"half")
    assert list(store.list()) == ["a/b"]


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\n"
        "from storage.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    Store.open(sys.argv[1]).put('a/b', b'x' * 5000)\n"
        "except ValueError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.startswith("StorageError cannot write")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("method", ["put", "create"])
def test_data_is_synced_before_its_name_and_the_name_after(tmp_path: Path, method: str) -> None:
    program = f"import sys; from storage.store import Store; Store.open(sys.argv[1]).{method}('new/x', b'1')"
    trace = tmp_path / "trace"
    wanted = "trace=write,fsync,rename,renameat,link,linkat,unlink,mkdir"
    (tmp_path / "store").mkdir()
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-e",
            wanted,
            "-o",
            str(trace),
            sys.executable,
            "-c",
            program,
            str(tmp_path / "store"),
        ],
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if f"{tmp_path}/store" in line]
    named = "rename" if method == "put" else "link"
    assert [call.partition("(")[0].removesuffix("at") for call in calls if " = 0" in call or "write" in call] == [
        *("mkdir", "fsync", "write", "fsync", named),
        *(["unlink"] if method == "create" else []),
        "fsync",
    ]
