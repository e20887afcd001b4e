"""Which failed steps are tried again."""

from typing import Any, cast

import pytest
from prefect.states import Failed

from flows.corpus import worth_trying_again
from pipelines.cluster.jobs import JobFailed, JobStopped
from pipelines.errors import UserError
from storage.errors import CommitConflict, StorageError, Unavailable


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Unavailable("503"), True),
        (JobFailed("out of memory"), True),
        (StorageError("no space left"), False),
        (CommitConflict("another build was first"), False),
        (UserError("no such file"), False),
        (JobStopped("by hand"), False),
    ],
)
def test_what_another_try_may_mend_is_tried_again(error: Exception, again: bool) -> None:
    assert worth_trying_again(cast(Any, None), cast(Any, None), Failed(data=error)) == again
