"""`echox debug`: compute a work unit of a failed step again, alone in this process."""

from pipelines.config.faults import nearest
from pipelines.engine.failures import repeat
from pipelines.errors import UserError
from pipelines.steps import computations
from storage.receipts import Receipt
from storage.store import Store


def rerun(store: str, step: str, fingerprint: str) -> Receipt:
    """Compute a work unit that the last failed run of a step had to do; its output is written as in a build.

    Args:
        store: folder or s3:// URL of the corpus.
        step: name of the step.
        fingerprint: of the work unit, as the failure's message names it; its first characters suffice.

    Raises:
        UserError: no step has that name, or its last failure does not concern that work unit.
        Exception: the failure itself.
    """
    known = computations()
    if step not in known:
        raise UserError(f"step {step}: computes no work units; {nearest(step, known)}")
    return repeat(Store.open(store), step, fingerprint, lambda values: known[step](**values))
