import json
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import json_stream
from pipelines.readers.json_stream import read_values
from pipelines.readers.places import Place


def values(tmp_path: Path, content: bytes) -> list[object]:
    path = tmp_path / "values.json"
    path.write_bytes(content)
    return list(read_values(Place.of(str(path))))


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
def test_arrays_and_sequences_whatever_the_chunks(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", chunk)
    expected = [{"a": [1, 2, {"b": "ü€𝄞 ]}"}]}, 123456, "x,", None, [], -1.5e3]
    assert values(tmp_path, json.dumps(expected, ensure_ascii=False, indent=1).encode()) == expected
    assert values(tmp_path, "\n".join(json.dumps(value) for value in expected[:1] * 3).encode()) == expected[:1] * 3
    assert values(tmp_path, b"\xef\xbb\xbf [ ] ") == []
    assert values(tmp_path, b"") == []
    assert values(tmp_path, b'[{"a":1}]\n[] [{"a":2}, 3]\n') == [{"a": 1}, {"a": 2}, 3]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"a": 1}',
        b'[{"a": 1} {"b": 2}]',
        b'[{"a": 1}, {"b"',
        b'["\xff"]',
        b"[1, x]",
        b'[{"a": 1}] {"a": 2}',
        b"[1] [2",
        b"[1]]",
        b"[1],[2]",
        b'{"a": 1}]',
    ],
)
def test_broken_json_is_the_users_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match="not valid JSON"):
        values(tmp_path, content)


def test_many_small_values_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    with path.open("w") as file:
        file.write("[" + ",".join(json.dumps({"id": n, "text": "x" * 80}) for n in range(100_000)) + "]")
    window = json_stream._Buffer  # pyright: ignore[reportPrivateUsage]
    with Place.of(str(path)).open() as stream:
        buffer = window(stream, "many")
        buffer.peek()
        buffer.position += 1
        longest = 0
        for _ in range(100_000):
            buffer.value()
            longest = max(longest, len(buffer.text))
            buffer.peek()
            buffer.position += 1
    assert longest <= 3 * json_stream.CHUNK_BYTES
