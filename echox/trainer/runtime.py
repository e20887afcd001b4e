"""Preparation of fairseq2 0.8.1 for running inside another program."""

import functools
import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@functools.cache
def prepare() -> None:
    """Import fairseq2's recipes, and switch off what a library must not do."""
    from fairseq2.checkpoint import StandardCheckpointManager
    from fairseq2.metrics.recorders import JsonlMetricRecorder
    from fairseq2.recipe.internal import task
    from fairseq2.recipe.internal.log import _StandardLogHelper  # pyright: ignore[reportPrivateUsage]

    # Checkpoints hold only what is trained: at a resume the rest is loaded and sent to all workers, as at the start.
    StandardCheckpointManager.has_checkpoint = _never  # pyright: ignore[reportAttributeAccessIssue]
    run: Any = import_module("fairseq2.recipe.run")  # `fairseq2.recipe.run` is also a function
    # It would log all environment variables, including secrets.
    _StandardLogHelper.log_environment_variables = _nothing
    # Signals can be set in the main thread only, and a worker of Ray trains in another.
    task.signal = _nothing  # pyright: ignore[reportPrivateImportUsage]
    # It would remove the handlers of the program's root logger.
    run.configure_logging = _nothing
    # It would show its deprecation warnings to all users.
    run.enable_deprecation_warnings = _nothing
    # It appends, so that some steps would occur twice after a resume; `echox.recipes.recorder` replaces it.
    JsonlMetricRecorder.record_metric_values = _nothing


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _never(*_: Any, **__: Any) -> bool:
    return False


@contextmanager
def logging_to_files() -> Generator[None]:
    """Let fairseq2 log into the run's folder only, and only while the run is trained."""
    logger = logging.getLogger("fairseq2")
    before = logger.level, logger.propagate, list(logger.handlers)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        for handler in [handler for handler in logger.handlers if handler not in before[2]]:
            logger.removeHandler(handler)
            handler.close()
        logger.level, logger.propagate = before[0], before[1]
