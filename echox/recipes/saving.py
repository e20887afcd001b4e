"""Checkpoints that could not be saved, told in a line."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from fairseq2.checkpoint.manager import CheckpointStateNotValidError
from fairseq2.error import OperationalError

from echox.errors import EchoxError
from echox.recipes.folder import CHECKPOINTS, last_step, unfinished_steps


@contextmanager
def failed_saves_told(folder: Path) -> Generator[None]:
    """Raise the cause of a checkpoint that could not be saved, and say where the run goes on.

    Raises:
        EchoxError: a checkpoint could not be saved.
    """
    try:
        yield
    except (OperationalError, CheckpointStateNotValidError) as error:
        step = last_step(folder)
        begun = [number for number in unfinished_steps(folder) if number > step]
        if not begun or not any(map(_is_of_a_file, _chain(error))):
            raise
        *_, cause = _chain(error)
        problem = f"the checkpoint of step {max(begun)} could not be saved ({cause})"
        where = f"goes on from step {step}" if step else "begins again at step 0"
        remedy = f"make room or mend the disk; the same command {where}"
        raise EchoxError(f"{folder / CHECKPOINTS}: {problem}; {remedy}") from error


def _is_of_a_file(error: BaseException) -> bool:
    """Return whether the disk refused: torch's writer reports that as a RuntimeError."""
    return isinstance(error, OSError) or "PytorchStreamWriter" in str(error) or "inline_container" in str(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
