import pytest

from pipelines.build.commit import came_with, check_accounts
from storage.artifacts import ArtifactRef
from storage.receipts import Receipt
from storage.versions import Version

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


def version(number: int, lineage: dict[str, object], **artifacts: str) -> Version:
    refs = {name: ArtifactRef(name, fingerprint, fingerprint) for name, fingerprint in artifacts.items()}
    return Version(
        number=number, parent=number - 1 or None, steps={}, artifacts=refs, config={}, lineage=lineage, statistics={}
    )


def test_what_an_artifact_came_with_is_handed_on_while_it_is_kept() -> None:
    first = version(1, {}, quantizer="q1", unit_language="u1")
    told = came_with(None, first.artifacts, 1, 1000)
    assert told == {"quantizer": {"version": 1, "samples": 1000}, "unit_language": {"version": 1, "samples": 1000}}
    second = version(2, {"came_with": told}, quantizer="q1", unit_language="u2")
    told = came_with(version(1, {"came_with": told}, quantizer="q1", unit_language="u1"), second.artifacts, 2, 1500)
    assert told == {"quantizer": {"version": 1, "samples": 1000}, "unit_language": {"version": 2, "samples": 1500}}
    assert (
        came_with(version(2, {"came_with": told}, quantizer="q1", unit_language="u2"), second.artifacts, 3, 2000)
        == told
    )


def test_nothing_is_claimed_of_what_an_older_program_kept() -> None:
    parent = version(1, {}, quantizer="q1", unit_language="u1")
    assert came_with(parent, parent.artifacts, 2, 9) == {}
