"""Accounts of a version: every utterance that left a step entered the next one."""

from pipelines.engine.build_step import TableStep
from pipelines.records import Receipts
from pipelines.steps import steps as registered


def check_accounts(steps: Receipts) -> None:
    """Compare the rows that entered each step with what the steps before it gave.

    Args:
        steps: receipts of a version; steps that it never ran are not checked.

    Raises:
        AssertionError: an utterance was lost or doubled; a bug, never the user's mistake.
    """
    for name, step in registered().items():
        expected = step.expected_rows(steps) if name in steps and issubclass(step, TableStep) else None
        found = sum(receipt.rows_in for receipt in steps.get(name, ()))
        if expected is not None and expected != found:
            raise AssertionError(f"step {name} saw {found} utterances, the step before gave {expected}")
