"""Settings of the command line: those of the execution, and those of stage echo."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from echox.config.faults import faults_of, report
from echox.config.values import apply_change
from pipelines.engine.execution import ExecutionConfig
from pipelines.errors import UserError
from unitlang.config import FrozenConfig

EXECUTION = "run."
"""Beginning of the settings of the execution, which change nothing in the labels."""


class _Execution(FrozenConfig):
    """The section `run`, as in the config of a build."""

    run: ExecutionConfig = ExecutionConfig()


def options(changes: Sequence[str]) -> tuple[ExecutionConfig, tuple[str, ...]]:
    """Return the execution, and the settings of stage echo, from FIELD=VALUE of both.

    Raises:
        UserError: a setting of the execution is wrong.
        EchoxError: it is malformed.
    """
    values: dict[str, Any] = {}
    typed = [apply_change(values, change) for change in changes if change.startswith(EXECUTION)]
    try:
        execution = _Execution.model_validate(values).run
    except ValidationError as error:
        raise UserError(report("settings of the execution", faults_of(error, _Execution, values), typed)) from None
    return execution, tuple(change for change in changes if not change.startswith(EXECUTION))
