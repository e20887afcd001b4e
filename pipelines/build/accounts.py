"""Check that every utterance that left a step entered the next one."""

from pipelines.records import Receipts
from pipelines.steps import table_steps


def check_accounts(steps: Receipts) -> None:
    """Compare the number of rows that entered each step with the number that the steps before it wrote.

    Args:
        steps: receipts of a version; steps that the version lacks are skipped.

    Raises:
        AssertionError: a step lost or duplicated an utterance; this is a bug, never a mistake of the user.
    """
    for name, step in table_steps().items():
        expected = step.expected_rows(steps) if name in steps else None
        found = sum(receipt.rows_in for receipt in steps.get(name, ()))
        if expected is not None and expected != found:
            raise AssertionError(f"step {name} saw {found} utterances, the step before gave {expected}")
