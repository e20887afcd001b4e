"""Small codebook files that would take much memory: each is one clear error, in a process of bounded memory."""

import bz2
import json
import lzma
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from unitlang.errors import UnitlangError
from unitlang.features.files import read_json_object
from unitlang.quantizer.centroids import read_centroids

MORE_MEMORY = 200 << 20
"""Memory that reading one bomb may take: content up to 64 MiB, copies of it, and imports."""


def npy(shape: str, dtype: str = "<f4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(64)


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype: str, shape: list[int], size: int) -> dict[str, object]:
    return {"centroids": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


def zeros(compress: Any, size: int) -> bytes:
    block = bytes(1 << 20)
    return b"".join([*(compress.compress(block) for _ in range(size >> 20)), compress.flush()])


def archive() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.npy", npy("(20000, 768)") + bytes(300 << 20))
    return file.getvalue()


BOMBS = {
    "npy, more than any memory": (npy("(20000, 100000000)"), "its header states"),
    "npy, 1 GB": (npy("(20000, 12500)"), "its header states"),
    "npy, more than an integer": (npy("(9223372036854775807, 9223372036854775807)"), "its header states"),
    "npy, negative": (npy("(-20000, 5)"), "not a readable .npy"),
    "npy, deep": (npy("(" * 3000 + ")" * 3000), "not a readable .npy"),
    "npy, text": (npy("(2, 2)", "<U100000000"), "not a readable .npy"),
    "npz": (archive(), "an archive"),
    "zlib": (zeros(zlib.compressobj(9), 400 << 20), "more than 67,108,864 bytes"),
    "gzip": (zeros(zlib.compressobj(9, wbits=31), 400 << 20), "more than 67,108,864 bytes"),
    "bz2": (zeros(bz2.BZ2Compressor(), 400 << 20), "more than 67,108,864 bytes"),
    "xz": (zeros(lzma.LZMACompressor(preset=0), 400 << 20), "more than 67,108,864 bytes"),
    "pickle, number of a memo": (b"\x80\x02Nr" + struct.pack("<I", 1 << 26) + b".", "neither a k-means model"),
    "pickle, bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 36) + b"x.", "not a readable pickle"),
    "pickle, frame": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.", "neither a k-means model"),
    "pickle, long name": (b"cos\n" + b"a" * 10_000_000 + b"\n.", "refused: it names"),
    "safetensors, length": (struct.pack("<Q", 1 << 62) + b"{}", "its header is larger"),
    "safetensors, many tensors": (
        safetensors({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(50_000)}),
        "its header is larger",
    ),
    "safetensors, deep": (safetensors(b'{"a":' * 100_000 + b"}" * 100_000), "not a readable safetensors"),
    "safetensors, shape": (safetensors(tensor("F32", [0, 2**62], 0)), "not a readable safetensors"),
    "safetensors, overflow": (safetensors(tensor("F32", [2**40, 2**40], 0)), "not a readable safetensors"),
    "safetensors, type": (safetensors(tensor("BF16", [2, 2], 8), bytes(8)), "save the centroids as float32"),
}
PROGRAM = """
import resource, sys
import numpy, safetensors.numpy, fsspec
from unitlang.quantizer.centroids import read_centroids
with open("/proc/self/statm") as file:
    limit = int(file.read().split()[0]) * 4096 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[2:]:
    try:
        read_centroids(path)
    except ValueError as error:
        print(type(error).__name__, error)
"""


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    for number, (data, _) in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.bin").write_bytes(data)
    paths = [str(tmp_path / f"{number}.bin") for number in range(len(BOMBS))]
    command = [sys.executable, "-c", PROGRAM, str(MORE_MEMORY), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    for path, line, (name, (_, message)) in zip(paths, lines, BOMBS.items(), strict=True):
        assert line.startswith(f"UnitlangError {path}: "), name
        assert message in line, name
        assert len(line) < 500, name


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    for path in (tmp_path / "pipe.npy", Path("/dev/zero"), tmp_path):
        with pytest.raises(UnitlangError, match="not a file"):
            read_centroids(path)


def test_a_file_larger_than_any_codebook_is_not_held(tmp_path: Path) -> None:
    with (tmp_path / "sparse.npy").open("wb") as file:
        file.truncate(3 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnitlangError, match="more than 2,147,483,648 bytes"):
        read_centroids(tmp_path / "sparse.npy")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16  # 64 MiB, in KiB


def test_deep_json_of_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(UnitlangError, match="is not a JSON object"):
        read_json_object(tmp_path / "config.json")
