from pathlib import Path

import pytest

from pipelines.engine.rejects import SHOWN_REJECTS, check_rejects, check_some_left, check_speech, examples
from pipelines.engine.step import Reject, rejects_table
from pipelines.errors import UserError
from storage.receipts import Receipt, write_output
from storage.store import Store
from unitlang.frames import HUBERT_GRID

Steps = dict[str, list[Receipt]]


def with_rejects(store: Store, step: str, name: str, entries: int, rejects: list[Reject], samples: int = 0) -> Receipt:
    counts = {reason: sum(r.reason == reason for r in rejects) for reason in sorted({r.reason for r in rejects})}
    table = [("rejects", rejects_table(step, rejects))]
    rows_out = entries - len(rejects)
    stats = {"datasets": {"d": {"utterances": rows_out, "samples": samples}}}
    return write_output(store, step, name, table, rows_in=entries, rows_out=rows_out, rejects=counts, stats=stats)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def rejected(store: Store, bad: int, broken: int) -> Steps:
    """Fifty entries; so many are rejected by `ingest` and by `quantize`."""
    first = [Reject("d", f"list.tsv:{number}", "bad_row", "no path") for number in range(bad)]
    later = [Reject("d", f"/{number}.wav", "truncated", "ends early", f"d/{number}") for number in range(broken)]
    return {
        "ingest": [with_rejects(store, "ingest", "i", 50, first)],
        "quantize": [with_rejects(store, "quantize", "q", 50 - bad, later)],
    }


def test_rejects_within_the_limit_pass(store: Store) -> None:
    check_rejects(store, rejected(store, 2, 3), "quantize", 0.1)
    check_rejects(store, rejected(store, 0, 0), "quantize", 0.0)
    check_rejects(store, rejected(store, 50, 0), "quantize", 1.0)


def test_too_many_rejects_are_told_with_reasons_examples_and_remedy(store: Store) -> None:
    with pytest.raises(UserError) as error:
        check_rejects(store, rejected(store, 2, 4), "quantize", 0.1)
    first, *lines, last = str(error.value).splitlines()
    assert first == (
        "max_reject_ratio: after step quantize, 6 of 50 entries were rejected (12.0%): truncated 4, bad_row 2; "
        "allowed 10.0%"
    )
    assert lines == [
        "  /0.wav: ends early [truncated]",
        "  /1.wav: ends early [truncated]",
        "  list.tsv:0: no path [bad_row]",
        "  list.tsv:1: no path [bad_row]",
    ]
    assert len(lines) <= SHOWN_REJECTS
    assert last == "Nothing was committed. Mend the sources, or raise max_reject_ratio (0 to 1)."


def test_one_reject_is_too_many_where_none_is_allowed(store: Store) -> None:
    with pytest.raises(UserError, match="1 of 50 entries were rejected"):
        check_rejects(store, rejected(store, 0, 1), "quantize", 0.0)


def test_nothing_listed_is_nothing_rejected(store: Store) -> None:
    check_rejects(store, {"ingest": []}, "quantize", 0.0)


def test_too_few_frames_tell_of_the_rejects_first(store: Store) -> None:
    bad = [Reject("d", f"/{number}.wav", "not_audio", "no decoder knows it") for number in range(8)]
    other = [Reject("d", "/x.wav", "empty_file", "0 bytes")]
    left = 2 * 80 + 320 * 99  # of two utterances
    steps = {"ingest": [with_rejects(store, "ingest", "i", 11, bad + other, left)]}
    with pytest.raises(UserError) as error:
        check_speech(store, steps, 100, HUBERT_GRID)
    assert str(error.value).splitlines() == [
        "sources: 9 of 11 entries were rejected (81.8%): not_audio 8, empty_file 1",
        "  /0.wav: no decoder knows it [not_audio]",
        "What is left has 99 frames at most (2.0 s of speech); quantizer.k asks for 100 clusters, which need as many. "
        "Mend the sources, add speech, or lower quantizer.k.",
    ]
    check_speech(store, steps, 99, HUBERT_GRID)


def test_without_rejects_too_few_frames_are_not_their_fault(store: Store) -> None:
    check_speech(store, {"ingest": [with_rejects(store, "ingest", "i", 2, [], 800)]}, 100, HUBERT_GRID)


def test_a_step_that_leaves_nothing_tells_why(store: Store) -> None:
    steps = rejected(store, 50, 0)
    with pytest.raises(
        UserError, match=r"^sources: 50 of 50 entries were rejected \(100.0%\): bad_row 50\n  list.tsv:0"
    ):
        check_some_left(store, steps, "ingest")
    with pytest.raises(UserError, match=r"^sources: no speech found; check `path` and `kind`"):
        check_some_left(store, {"ingest": []}, "ingest")
    check_some_left(store, rejected(store, 49, 0), "ingest")


def test_only_files_that_tell_something_new_are_read(store: Store) -> None:
    first = with_rejects(store, "ingest", "a", 2, [Reject("d", f"/{n}", "missing", "no file") for n in range(2)])
    again = with_rejects(store, "ingest", "b", 1, [Reject("d", "/9", "missing", "no file")])
    other = with_rejects(store, "ingest", "c", 1, [Reject("d", "/c", "corrupt", "noise")])
    store.delete(again.files[0].path)
    found = examples(store, [first, again, other], 2)
    assert {reason: [row["source"] for row in rows] for reason, rows in found.items()} == {
        "missing": ["/0", "/1"],
        "corrupt": ["/c"],
    }
