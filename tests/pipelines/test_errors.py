"""Errors that cross from one process to another."""

import pytest

from echox.errors import EchoxError
from pipelines.errors import KINDS, UserError, kind_of
from storage.errors import CommitConflict, Unavailable
from unitlang.errors import UnitlangError


@pytest.mark.parametrize(
    ("error", "arrives_as"),
    [
        (Unavailable("s3://x: 503"), Unavailable),
        (CommitConflict("another build was first"), UserError),
        (UnitlangError("NaN"), UserError),
        (EchoxError("no such field"), UserError),
        (UserError("no such file"), UserError),
        (ValueError("a mistake of the program"), None),
    ],
)
def test_only_a_store_that_is_away_stays_worth_another_try(
    error: Exception, arrives_as: type[Exception] | None
) -> None:
    assert KINDS.get(kind_of(error)) is arrives_as
