from pathlib import Path

import pytest

from pipelines.commit import SHOWN_REJECTS, check_accounts, check_rejects
from pipelines.errors import UserError
from pipelines.step import Reject, rejects_table
from storage.receipts import Receipt, write_output
from storage.store import Store

Steps = dict[str, list[Receipt]]


def receipt(step: str, rows_in: int, rows_out: int, **datasets: int) -> Receipt:
    stats = {"datasets": {name: {"utterances": count, "samples": 0} for name, count in datasets.items()}}
    rejects = {"corrupt": rows_in - rows_out} if rows_in > rows_out else {}
    return Receipt(step, step, (), rows_in, rows_out, rejects, stats)


def accounts() -> Steps:
    """Twelve entries: two bad ones, one written turn, one that does not decode."""
    return {
        "ingest": [receipt("ingest", 7, 6, a=3, b=2), receipt("ingest", 5, 4, a=4)],
        "quantize": [receipt("quantize", 5, 5), receipt("quantize", 4, 3)],
        "encode": [receipt("encode", 5, 5), receipt("encode", 3, 3)],
        "shard": [receipt("shard", 10, 10)],
    }


def test_accounts_that_balance() -> None:
    check_accounts(accounts())


@pytest.mark.parametrize(
    ("step", "wrong", "message"),
    [
        ("ingest", [receipt("ingest", 7, 6, a=3, b=3)], "step quantize saw 9 utterances, the step before gave 6"),
        ("quantize", [receipt("quantize", 5, 5)], "step quantize saw 5 utterances, the step before gave 9"),
        ("quantize", [receipt("quantize", 9, 7)], "step encode saw 8 utterances, the step before gave 7"),
        ("encode", [receipt("encode", 5, 5)], "step encode saw 5 utterances, the step before gave 8"),
        ("encode", 2 * [receipt("encode", 8, 8)], "step encode saw 16 utterances, the step before gave 8"),
        ("shard", [], "step shard saw 0 utterances, the step before gave 10"),
    ],
)
def test_a_lost_or_doubled_utterance_is_noticed(step: str, wrong: list[Receipt], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_accounts({**accounts(), step: wrong})


def with_rejects(store: Store, step: str, name: str, entries: int, rejects: list[Reject]) -> Receipt:
    counts = {reason: sum(r.reason == reason for r in rejects) for reason in sorted({r.reason for r in rejects})}
    table = [("rejects", rejects_table(step, rejects))]
    rows_out = entries - len(rejects)
    return write_output(store, step, name, table, rows_in=entries, rows_out=rows_out, rejects=counts, stats={})


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
    check_rejects(store, rejected(store, 2, 3), 0.1)
    check_rejects(store, rejected(store, 0, 0), 0.0)
    check_rejects(store, rejected(store, 50, 0), 1.0)


def test_too_many_rejects_are_told_with_reasons_examples_and_remedy(store: Store) -> None:
    with pytest.raises(UserError) as error:
        check_rejects(store, rejected(store, 2, 4), 0.1)
    first, *examples, last = str(error.value).splitlines()
    assert first == "max_reject_ratio: 6 of 50 entries were rejected (12.0%, allowed 10.0%): truncated 4, bad_row 2"
    assert examples[0] == "  list.tsv:0: no path [bad_row]"
    assert examples[2] == "  /0.wav: ends early [truncated]"
    assert len(examples) == SHOWN_REJECTS
    assert last == "Nothing was committed. Mend the sources, or raise max_reject_ratio (0 to 1)."


def test_one_reject_is_too_many_where_none_is_allowed(store: Store) -> None:
    with pytest.raises(UserError, match="1 of 50 entries were rejected"):
        check_rejects(store, rejected(store, 0, 1), 0.0)


def test_nothing_listed_is_nothing_rejected(store: Store) -> None:
    check_rejects(store, {"ingest": []}, 0.0)
