"""Durability and manners of the local writer."""

import os
import shutil
import subprocess
import sys
import time
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


DAY = 24 * 3600


@pytest.mark.parametrize(
    ("name", "age", "stays"),
    [
        ("data/units/ab-0123.parquet#12345", DAY + 60, False),
        ("data/items/ab.jsonl#1", DAY + 60, False),
        ("manifests/00000001.json#18446744073709551615", DAY + 60, False),
        ("artifacts/quantizer/ab/centroids.safetensors#7", DAY + 60, False),
        ("reports/00000001.html#9", DAY + 60, False),
        (".echox-probe#99", DAY + 60, False),
        (".echox-probe#99.link", DAY + 60, False),
        ("data/units/ab-0123.parquet#12345", DAY - 60, True),
        ("data/units/ab-0123.parquet", DAY + 60, True),
        ("data/units/ab-0123.parquet#draft", DAY + 60, True),
        ("data/units/notes#2024", DAY + 60, True),
        ("my own/list.json#1", DAY + 60, True),
        ("list.json#1", DAY + 60, True),
    ],
)
def test_old_unfinished_files_of_writers_are_removed(tmp_path: Path, name: str, age: float, stays: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    assert Store.open(tmp_path).remove_leftovers() == (not stays)
    assert path.exists() == stays


def test_a_link_to_elsewhere_is_not_walked(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.json#1").write_bytes(b"")
    os.utime(other / "a.json#1", (0, 0))
    (tmp_path / "store" / "runs").mkdir(parents=True)
    (tmp_path / "store" / "runs" / "x").symlink_to(other)
    Store.open(tmp_path / "store").remove_leftovers()
    assert (tmp_path / "store" / "runs" / "x" / "a.json#1").exists()


LACKS = {
    "no hard links": ("os.link = fail", "EPERM", "hard links"),
    "hard links not supported": ("os.link = fail", "EOPNOTSUPP", "hard links"),
    "too many links": ("os.link = fail", "EMLINK", "hard links"),
    "folders cannot be synced": (
        "real = os.fsync\ndef fsync(fd): fail() if stat.S_ISDIR(os.fstat(fd).st_mode) else real(fd)\nos.fsync = fsync",
        "EINVAL",
        "fsync",
    ),
    "folders cannot be opened": (
        "real = os.open\n"
        "def opened(path, flags, *a, **k): return fail() if flags & os.O_DIRECTORY else real(path, flags, *a, **k)\n"
        "os.open = opened",
        "EACCES",
        "fsync",
    ),
}
"""Disks that cannot be mounted here: what the system's calls do on them, in a child process."""


@pytest.mark.parametrize(("change", "error", "lacks"), LACKS.values(), ids=LACKS)
@pytest.mark.parametrize("place", ["", "new/store"])
def test_a_disk_that_cannot_hold_a_store_is_refused_at_the_start(
    tmp_path: Path, change: str, error: str, lacks: str, place: str
) -> None:
    program = (
        f"import errno, os, stat, sys\n"
        f"def fail(*_, **__): raise OSError(errno.{error}, os.strerror(errno.{error}))\n"
        f"from storage.store import Store\n{change}\n"
        "try:\n    Store.open(sys.argv[1], create=True)\n"
        "except ValueError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / place)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.startswith(f"StorageError {tmp_path}: its file system has no {lacks} (")
    assert "choose a folder on a local disk or on NFS, or s3://bucket/prefix" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


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
