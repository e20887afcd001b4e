"""Differences of versions whose utterances and rejects are known."""

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.diff.digests import combined, digests_of
from pipelines.diff.entries import FACTS, Entries, EntryChanges, EntryDiff
from pipelines.diff.rejects import RejectChanges, Rejects, reject_changes
from pipelines.diff.settings import setting_changes
from pipelines.engine.step import Reject, rejects_table
from storage.errors import CorruptStore
from storage.receipts import DataFile, write_output
from storage.schemas import table_of
from storage.store import Store
from tests.flows.versions import a_version

Row = Mapping[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def utterance(name: str, **values: Any) -> Row:
    place = values.pop("uri", f"/audio/{name}.wav")
    return {
        "utterance_id": f"d/{name}",
        "dataset": "d",
        "task": "asr",
        "audio": {"uri": place, "bytes": None},
        "offset_samples": 0,
        "num_samples": 16_000,
        "sample_rate": 16_000,
        "text": f"text of {name}",
        "checksum": "ab" * 32,
        "source_key": bytes(16),
        **values,
    }


def written(store: Store, *rows: Row) -> list[DataFile]:
    """A file of utterances, named after its contents."""
    tables = [("utterances", table_of(rows, "utterances"))]
    name = repr(rows)[:40].encode().hex()
    receipt = write_output(store, "ingest", name, tables, rows_in=len(rows), rows_out=len(rows), rejects={}, stats={})
    return list(receipt.files)


def rejected(store: Store, step: str, *rejects: Reject) -> list[DataFile]:
    name = repr((step, rejects)).encode().hex()[:200]
    table = [("rejects", rejects_table(step, rejects))]
    receipt = write_output(store, step, name, table, rows_in=len(rejects), rows_out=0, rejects={}, stats={})
    return list(receipt.files)


def compared(store: Store, before: Sequence[Row], after: Sequence[Row]) -> EntryDiff:
    return EntryDiff.of(
        Entries.read(store, written(store, *before)),
        Entries.read(store, written(store, *after)),
    )


def changes(**counts: Any) -> EntryChanges:
    return EntryChanges(**({"added": 0, "removed": 0, "content": 0, "facts": 0, "changed_facts": {}} | counts))


CONTENT: Mapping[str, Any] = {"checksum": "cd" * 32, "offset_samples": 5, "num_samples": 15_999, "channel": 0}
CHANGED_FACTS: Mapping[str, Any] = {
    "text": None,
    "speaker_id": "anna",
    "split": "dev",
    "language": "en",
    "task": "tts",
    "uri": "/moved/a.wav",
    "sample_rate": 8_000,
    "dialogue_id": "x",
    "turn": 0,
    "role": "user",
    "licence": "CC0",
    "attribution": "Anna",
    "consent": "yes",
    "source_url": "https://a.example/1",
}


@pytest.mark.parametrize("column", CONTENT)
def test_each_column_of_the_content_counts_as_other_audio(store: Store, column: str) -> None:
    found = compared(
        store, [utterance("a"), utterance("b")], [utterance("b", **{column: CONTENT[column]}), utterance("a")]
    )
    assert found.by_dataset == {"d": changes(content=1)}


@pytest.mark.parametrize("column", CHANGED_FACTS)
def test_each_other_column_is_a_fact(store: Store, column: str) -> None:
    found = compared(store, [utterance("a")], [utterance("a", **{column: CHANGED_FACTS[column]})])
    name = "audio" if column == "uri" else column
    assert found.by_dataset == {"d": changes(facts=1, changed_facts={name: 1})}


def test_every_column_is_one_of_these() -> None:
    assert {*FACTS} == {"audio" if name == "uri" else name for name in CHANGED_FACTS}


def test_an_entry_that_its_source_lists_otherwise_is_the_same(store: Store) -> None:
    assert compared(store, [utterance("a")], [utterance("a", source_key=b"1" * 16)]).by_dataset == {}


def test_utterances_are_counted_by_dataset_wherever_they_lie(store: Store) -> None:
    kept = [utterance(f"k{number}") for number in range(600)]
    before = [*kept, utterance("gone", dataset="old"), utterance("a"), utterance("b", speaker_id="x")]
    after = [
        utterance("a", text="other", checksum="cd" * 32),
        utterance("new", dataset="e"),
        utterance("b"),
        *kept[::-1],
    ]
    assert compared(store, before, after).by_dataset == {
        "d": changes(content=1, facts=2, changed_facts={"text": 1, "speaker_id": 1}),
        "e": changes(added=1),
        "old": changes(removed=1),
    }


def test_written_turns_and_embedded_audio_are_compared(store: Store) -> None:
    written_turn = utterance("w", audio=None, checksum=None, num_samples=0, sample_rate=None)
    embedded = utterance("e", audio={"uri": None, "bytes": bytes(5_000)})
    before, after = [written_turn, embedded], [{**written_turn, "text": "other"}, embedded]
    assert compared(store, before, after).by_dataset == {"d": changes(facts=1, changed_facts={"text": 1})}
    assert compared(store, before, before).by_dataset == {}


names = st.text("abcd", min_size=1, max_size=2)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.sampled_from("xyz")), st.dictionaries(names, st.sampled_from("xyz")))
def test_any_two_versions_are_compared_as_dictionaries_are(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, str], after: dict[str, str]
) -> None:
    store = Store.open(tmp_path_factory.mktemp("store"))
    old, new = ([utterance(name, text=text) for name, text in of.items()] for of in (before, after))
    found = compared(store, old, new)
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    expected = changes(
        added=len(after.keys() - before.keys()),
        removed=len(before.keys() - after.keys()),
        facts=len(changed),
        changed_facts={"text": len(changed)} if changed else {},
    )
    assert found.by_dataset.get("d", changes()) == expected


def reject(name: str | None, reason: str = "corrupt", source: str = "") -> Reject:
    return Reject("d", source or f"/audio/{name}.wav", reason, "it is", name and f"d/{name}", bytes(16))


def of_rejects(
    store: Store,
    before: Sequence[DataFile],
    after: Sequence[DataFile],
    common: Sequence[DataFile] = (),
    *,
    rows: tuple[Sequence[Row], Sequence[Row]] = ((), ()),
) -> dict[str, RejectChanges]:
    old, new, shared = (Rejects.read(store, files) for files in (before, after, common))
    return reject_changes(old, new, shared, compared(store, *rows))


def test_rejects_that_came_and_went(store: Store) -> None:
    before = rejected(store, "ingest", reject("a"), reject("b"), reject("c", "missing"))
    after = rejected(store, "ingest", reject("b"), reject("d"), reject("e"), reject(None, "bad_row", "x.tsv:1"))
    assert of_rejects(store, before, after) == {
        "bad_row": {"came": 1, "went": 0, "healed": 0},
        "corrupt": {"came": 2, "went": 1, "healed": 0},
        "missing": {"came": 0, "went": 1, "healed": 0},
    }
    assert of_rejects(store, before, before) == {}


def test_a_line_that_is_rejected_several_times_counts_as_often(store: Store) -> None:
    line = reject(None, "bad_row", "x.tsv:1")
    before, after = rejected(store, "ingest", line), rejected(store, "ingest", line, line, line)
    assert of_rejects(store, before, after) == {"bad_row": {"came": 2, "went": 0, "healed": 0}}


def test_a_reject_healed_if_its_id_or_without_one_its_source_is_an_utterance_now(store: Store) -> None:
    before = rejected(store, "ingest", reject("a"), reject("b"), reject("taken", "duplicate_id"))
    common = rejected(
        store, "ingest", reject("c"), reject(None, "missing", "/audio/e.wav"), reject("long", source="/l")
    )
    rows = [utterance("taken")], [utterance(n) for n in ("taken", "a", "c", "e")] + [utterance("part", uri="/l")]
    assert of_rejects(store, before, [], common, rows=rows) == {
        "corrupt": {"came": 0, "went": 2, "healed": 2},
        "duplicate_id": {"came": 0, "went": 1, "healed": 0},
        "missing": {"came": 0, "went": 0, "healed": 1},
    }


def test_what_a_later_step_rejects_is_no_utterance_that_healed(store: Store) -> None:
    before = [
        *rejected(store, "ingest", reject("a")),
        *rejected(store, "quantize", reject("b"), reject("c"), reject("gone")),
    ]
    after = rejected(store, "quantize", reject("a", "too_short"), reject("b"))
    rows = [utterance(n) for n in ("b", "c", "gone")], [utterance(n) for n in ("a", "b", "c")]
    assert of_rejects(store, before, after, rows=rows) == {
        "corrupt": {"came": 0, "went": 3, "healed": 1},
        "too_short": {"came": 1, "went": 0, "healed": 0},
    }


def test_settings_that_differ_by_name() -> None:
    before = a_version()
    sources = [{"kind": "folder", "dataset": "a", "path": "/a"}, {"kind": "folder", "dataset": "b", "path": "/b"}]
    config = {"features": {"kind": "hubert", "layer": 9}, "quantizer": {"k": 100}, "sources": sources, "odd": [1]}
    before = replace(before, config=config)
    after = replace(
        before,
        config={
            **config,
            "quantizer": {"k": 200},
            "sources": [sources[1], {**sources[0], "path": "/new"}, {**sources[1], "path": "/b2"}],
        },
    )
    assert setting_changes(before, before) == {}
    assert setting_changes(before, after) == {
        "quantizer.k": {"before": 100, "after": 200},
        "sources.a.path": {"before": "/a", "after": "/new"},
        "sources.b[2].kind": {"before": None, "after": "folder"},
        "sources.b[2].dataset": {"before": None, "after": "b"},
        "sources.b[2].path": {"before": None, "after": "/b2"},
    }


def test_a_field_that_is_younger_than_a_version_has_its_default() -> None:
    sources = [{"kind": "folder", "dataset": "a", "path": "/a"}]
    config = {"features": {"kind": "mfcc"}, "quantizer": {"k": 100}, "unit_language": {}, "sources": sources}
    old = replace(a_version(), config=config, store="/s")
    new = replace(old, config={**config, "shards": {"hours": 4.0}, "work_units": {"items": 5}})
    assert setting_changes(old, new) == {"work_units.items": {"before": 1024, "after": 5}}


def test_digests_tell_values_nulls_and_order_apart() -> None:
    values = pa.chunked_array([["a", None], ["b", "a", ""]])
    digests_N = digests_of(values)
    assert len({*digests_N.tolist()}) == 4
    assert digests_N[0] == digests_N[3]
    assert digests_of(pa.chunked_array([[1], [2, 1]])).tolist()[::2] == [digests_of(pa.chunked_array([[1]]))[0]] * 2
    assert len({*digests_of(pa.chunked_array([[[1], [1, 2], None]])).tolist()}) == 3
    assert len(digests_of(pa.chunked_array([], pa.string()))) == 0
    one, two = np.array([1], np.uint64), np.array([2], np.uint64)
    assert combined(one, two) != combined(two, one)


def test_a_damaged_file_is_named(store: Store) -> None:
    rng = random.Random(0)
    (file,) = written(store, *(utterance("".join(rng.choices(string.ascii_letters, k=20))) for _ in range(50)))
    data = bytearray(store.get(file.path))
    data[len(data) // 2] ^= 1
    store.put(file.path, bytes(data))
    with pytest.raises(CorruptStore, match=file.path):
        Entries.read(store, [file])
