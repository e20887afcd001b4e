"""All that fairseq2 0.8.1 must be told before it runs inside another program."""

import functools
import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from echox.native import load_libsndfile


@functools.cache
def prepare() -> None:
    """Import fairseq2's recipes, and take away what a library must not do."""
    load_libsndfile()
    from fairseq2.metrics.recorders import JsonlMetricRecorder
    from fairseq2.recipe.internal import task
    from fairseq2.recipe.internal.log import _StandardLogHelper  # pyright: ignore[reportPrivateUsage]

    run: Any = import_module("fairseq2.recipe.run")  # the package has a function of that name
    # It would log all environment variables, secrets too.
    _StandardLogHelper.log_environment_variables = _nothing
    # Signals can be set in the main thread only, and a worker of Ray trains in another.
    task.signal = _nothing  # pyright: ignore[reportPrivateImportUsage]
    # It would take away the handlers of the whole program's root logger.
    run.configure_logging = _nothing
    # It would show its own deprecations to everyone.
    run.enable_deprecation_warnings = _nothing
    # It appends, so that after a resume some steps are there twice; `echox.recipes.recorder` does better.
    JsonlMetricRecorder.record_metric_values = _nothing


def _nothing(*_: Any, **__: Any) -> None:
    """What is done instead."""


@contextmanager
def logging_to_files() -> Generator[None]:
    """fairseq2 logs into the run's folder and nowhere else, and no longer than the run lasts."""
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
