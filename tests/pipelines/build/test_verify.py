import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.build.commit import Built
from pipelines.build.verify import Spoken, verify
from storage.receipts import DataFile, data_path
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table, rows_to_parquet
from storage.versions import Version, resolve

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, speech: Path, run_build: Callable[..., Built]) -> Path:
    """A small corpus, read and read aloud, so that s2t and t2c are there; with two rejects."""
    folder = tmp_path_factory.mktemp("verify")
    shutil.copytree(speech, folder / "speech")
    (folder / "speech" / "empty.wav").touch()
    whole = (speech / "clip003.wav").read_bytes()
    (folder / "speech" / "half.wav").write_bytes(whole[: len(whole) // 2])
    source = {"kind": "folder", "path": str(folder / "speech"), "dataset": "clips"}
    run_build(
        {
            "store": str(folder / "store"),
            "sources": [source],
            "quantizer": {"k": 20, "iterations": 3},
            "unit_language": {"vocab_size": 60},
            "shards": {"stages": {"t2c": ["asr"]}},
            "work_units": {"minutes": 0.2},
            "max_reject_ratio": 1.0,
        }
    )
    return folder / "store"


@pytest.fixture
def corpus(built: Path, tmp_path: Path) -> tuple[Store, Version]:
    """A copy to damage."""
    return resolve(shutil.copytree(built, tmp_path / "store"))


def swap_file(version: Version, old: DataFile, new: DataFile) -> Version:
    """The version with another file in the place of one of its files."""
    steps = {
        step: [replace(r, files=tuple(new if file == old else file for file in r.files)) for r in receipts]
        for step, receipts in version.steps.items()
    }
    return replace(version, steps=steps)


def rewrite(corpus: tuple[Store, Version], table: str, change: Callable[[Rows], object]) -> tuple[list[str], DataFile]:
    """Change rows of the first file of a table, checksum and all, as a bug would; what `verify` says then."""
    store, version = corpus
    file = version.files(table)[0]
    rows = read_table(store, file.path).to_pylist()
    assert len(rows) > 1
    change(rows)
    data = rows_to_parquet(table, pa.Table.from_pylist(rows, SCHEMAS[table]))
    path = data_path(table, "changed", data)
    store.put(path, data)
    changed = replace(file, path=path, rows=len(rows), bytes=len(data), sha256=sha256(data).hexdigest())
    return list(verify(store, swap_file(version, file, changed))), changed


def strange(name: str) -> str:
    """The message of `verify` about a single training example of a file."""
    return f"{name}: the words are not those of the utterance (1 such examples)"


def swap(rows: Rows, *columns: str) -> None:
    for name in columns:
        rows[0][name], rows[1][name] = rows[1][name], rows[0][name]


def test_a_whole_corpus_has_no_problems(corpus: tuple[Store, Version]) -> None:
    store, version = corpus
    assert {file.table for receipts in version.steps.values() for r in receipts for file in r.files} >= {
        "utterances",
        "rejects",
        "units",
        "unit_language",
        "s2t",
        "t2c",
    }
    assert list(verify(store, version)) == []
    problems, _ = rewrite(corpus, "units", lambda rows: None)
    assert problems == []


def test_each_table_is_read_by_one_request(corpus: tuple[Store, Version], monkeypatch: pytest.MonkeyPatch) -> None:
    store, version = corpus
    asked: Counter[str] = Counter()
    for name in ("get", "reader", "size"):
        method = getattr(Store, name)

        def counted(self: Store, path: str, method: Callable[..., Any] = method) -> Any:
            asked[path] += 1
            return method(self, path)

        monkeypatch.setattr(Store, name, counted)
    assert list(verify(store, version)) == []
    tables = {file.path for file in version.contents.tables}
    assert {path: count for path, count in asked.items() if path in tables} == dict.fromkeys(tables, 1)


def test_a_changed_word_is_found(corpus: tuple[Store, Version]) -> None:
    def change(rows: Rows) -> None:
        words = rows[0]["words"]
        words[0] = words[0] + 1 if words[0] == 1 else words[0] - 1

    problems, file = rewrite(corpus, "unit_language", change)
    assert problems[0] == f"{file.path}: clips/clip000.wav: the words do not give the units back"
    assert [problem.split(": ", 1)[1] for problem in problems[1:]] == [strange("clips/clip000.wav")]


@pytest.mark.parametrize("word", [0, -1, 60, 2**31 - 1])
def test_a_word_that_is_none_is_found(corpus: tuple[Store, Version], word: int) -> None:
    problems, file = rewrite(corpus, "unit_language", lambda rows: rows[1]["words"].append(word))
    assert problems[0].startswith(f"{file.path}: clips/clip001.wav: ")
    assert [problem.split(": ", 1)[1] for problem in problems[1:]] == [strange("clips/clip001.wav")]


def test_swapped_units_are_found(corpus: tuple[Store, Version]) -> None:
    problems, _ = rewrite(corpus, "units", lambda rows: swap(rows, "units", "durations", "num_frames"))
    for name in ("clips/clip000.wav", "clips/clip001.wav"):
        assert any(problem.endswith(f"{name}: the words do not give the units back") for problem in problems)


def test_swapped_rows_are_found(corpus: tuple[Store, Version]) -> None:
    problems, file = rewrite(corpus, "units", lambda rows: rows.reverse())
    assert len(problems) == 1
    assert problems[0].endswith(f"its utterances are not those of {file.path}")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[0]["durations"].append(1),
        lambda rows: rows[0].update(durations=[rows[0]["durations"][0] + 1, *rows[0]["durations"][1:]]),
        lambda rows: rows[0].update(num_frames=rows[0]["num_frames"] + 1),
        lambda rows: rows[0].update(durations=[sum(rows[0]["durations"])]),
    ],
)
def test_wrong_durations_are_found(corpus: tuple[Store, Version], change: Callable[[Rows], object]) -> None:
    problems, _ = rewrite(corpus, "units", change)
    off_the_grid = "clips/clip000.wav: 100 frames, but the grid of extractor mfcc says 99"
    told = [problem.split(": ", 1)[1] for problem in problems]
    assert [text for text in told if text != off_the_grid] == [
        "clips/clip000.wav: the durations do not sum to num_frames"
    ]


def test_a_wrong_number_of_runs_is_found(corpus: tuple[Store, Version]) -> None:
    problems, _ = rewrite(corpus, "unit_language", lambda rows: rows[0].update(num_runs=1))
    assert len(problems) == 1


def test_a_frame_count_that_the_two_tables_do_not_share_is_found(corpus: tuple[Store, Version]) -> None:
    problems, file = rewrite(corpus, "unit_language", lambda rows: rows[0].update(num_frames=1))
    assert problems == [f"{file.path}: clips/clip000.wav: the durations do not sum to num_frames"]


def test_an_utterance_without_units_is_found(corpus: tuple[Store, Version]) -> None:
    problems, file = rewrite(corpus, "units", lambda rows: rows.pop())
    assert any(f"its utterances are not those of {file.path} and its rejects" in problem for problem in problems)


def test_an_utterance_that_is_there_twice_is_found(corpus: tuple[Store, Version]) -> None:
    problems, _ = rewrite(corpus, "utterances", lambda rows: rows.append(rows[0]))
    assert any("utterance clips/clip000.wav is there twice" in problem for problem in problems)


@pytest.mark.parametrize("word", [-1, 0, 1, 10_000])
def test_a_wrong_word_in_a_training_shard_is_found(corpus: tuple[Store, Version], word: int) -> None:
    names: list[str] = []

    def change(rows: Rows) -> None:
        names.append(rows[0]["example_id"])
        rows[0]["words"].append(word)

    problems, file = rewrite(corpus, "t2c", change)
    assert problems == [f"{file.path}: {strange(names[0])}"]


def test_words_of_another_utterance_in_a_training_shard_are_found(corpus: tuple[Store, Version]) -> None:
    problems, file = rewrite(corpus, "t2c", lambda rows: swap(rows, "words"))
    assert len(problems) == 1
    assert problems[0].startswith(f"{file.path}: ")
    assert problems[0].endswith("the words are not those of the utterance (2 such examples)")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.update(entries=7), "statistics.entries is 7, the tables give 14"),
        (lambda s: s["examples"].update(s2t=1), "statistics.examples is {'s2t': 1, "),
        (lambda s: s["datasets"]["clips"].update(samples=1), "the statistics of dataset clips are not those of"),
        (lambda s: s["datasets"]["clips"]["rejects"].clear(), "the statistics of dataset clips are not those of"),
        (lambda s: s["datasets"]["clips"]["compression"].update(num_runs=1), "the statistics of dataset clips"),
        (lambda s: s["datasets"].update(more=s["datasets"]["clips"]), "the statistics of dataset more are not those"),
        (lambda s: s["datasets"].clear(), "statistics of the version: not those that a build writes"),
        (lambda s: s["datasets"]["clips"].pop("samples"), "statistics of the version: not those that a build writes"),
        (lambda s: s.pop("datasets"), "manifests/00000001.json: not the file that was written (field statistics"),
    ],
)
def test_changed_statistics_are_found(
    corpus: tuple[Store, Version], change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    store, version = corpus
    change(version.statistics)
    (found,) = verify(store, version)
    assert problem in found


def known_words(*utterances: tuple[str, str | None, list[int]]) -> Spoken:
    """Of id, text and words each."""
    known = Spoken()
    for name, text, words in utterances:
        spoken = pa.table({"utterance_id": ["silent", name], "text": ["unheard", text]})
        known.add(spoken, pa.table({"utterance_id": [name], "words": [words]}))
    known.sort()
    return known


def test_words_of_an_echo_example_are_those_of_an_utterance_with_the_text_of_its_answer() -> None:
    known = known_words(("b", "no", [4]), ("a", "yes", [1, 2, 3]), ("c", None, [5]), ("d", "yes", [6]))
    rows = pa.table(
        {
            "example_id": ["q"] * 6,
            "response": ["yes", "no", "yes", "yes", "unheard", "no"],
            "words": [[1, 2, 3], [4], [6], [4], [1, 2, 3], [4, 4]],
        }
    )
    assert known.strangers("echo", rows) == [3, 4, 5]
    assert known_words().strangers("echo", rows) == list(range(6))
    assert known.strangers("echo", rows.slice(0, 0)) == []


def test_known_words_take_16_bytes_an_utterance() -> None:
    names = [f"clips/{number:06d}.wav" for number in range(5_000)]
    spoken = pa.table({"utterance_id": names, "text": names})
    words = pa.table({"utterance_id": names, "words": [[number] * 20 for number in range(len(names))]})
    tracemalloc.start()
    try:
        known = Spoken()
        known.add(spoken, words)
        known.sort()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20 * len(names)
    assert known.strangers("t2c", words.rename_columns(["example_id", "words"])) == []


def test_a_lost_training_example_is_found(corpus: tuple[Store, Version]) -> None:
    problems, _ = rewrite(corpus, "s2t", lambda rows: rows.pop())
    assert len(problems) == 1
    assert "23 examples in its files, others in its receipt" in problems[0]


@pytest.mark.parametrize("table", ["utterances", "rejects", "units", "unit_language", "s2t", "t2c"])
def test_a_missing_file_is_found(corpus: tuple[Store, Version], table: str) -> None:
    store, version = corpus
    for file in version.files(table):
        store.delete(file.path)
        assert any(file.path in problem for problem in verify(store, version))


@pytest.mark.parametrize("table", ["utterances", "rejects", "units", "unit_language", "s2t", "t2c"])
def test_a_file_cut_short_is_found(corpus: tuple[Store, Version], table: str) -> None:
    store, version = corpus
    file = version.files(table)[0]
    store.put(file.path, store.get(file.path)[:-100])
    assert any(f"{file.path}: {file.bytes - 100} bytes" in problem for problem in verify(store, version))


@pytest.mark.parametrize("kind", ["quantizer", "unit_language"])
def test_a_damaged_artifact_is_found(corpus: tuple[Store, Version], kind: str) -> None:
    store, version = corpus
    path = next(path for path in store.list(version.artifacts[kind].path) if path.endswith(("safetensors", "model")))
    data = bytearray(store.get(path))
    data[len(data) // 2] ^= 1
    store.put(path, bytes(data))
    assert any(f"{path} is not what was written" in problem for problem in verify(store, version))


@pytest.mark.parametrize("step", ["ingest", "quantize", "encode", "shard"])
def test_a_lost_work_unit_is_found(corpus: tuple[Store, Version], step: str) -> None:
    store, version = corpus
    version.steps[step].pop()
    problems = list(verify(store, version))
    assert len(problems) == 1
    assert "the step before gave" in problems[0]


def test_swapped_work_units_are_found(corpus: tuple[Store, Version]) -> None:
    store, version = corpus
    version.steps["encode"].reverse()
    assert any("its utterances are not those of" in problem for problem in verify(store, version))


def test_a_work_unit_that_is_named_twice_is_found(corpus: tuple[Store, Version]) -> None:
    store, version = corpus
    for step in ("quantize", "encode"):
        version.steps[step][0] = version.steps[step][1]
    assert any("named 2 times by version 1" in problem for problem in verify(store, version))
