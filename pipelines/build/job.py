"""Entry point of the Ray jobs that `pipelines.cluster.jobs` submits, with the request in an environment variable.

The job logs JSON lines, which include its results or its error.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

from pipelines.boundary import guarded
from pipelines.cluster.environment import check_environment
from pipelines.cluster.job_log import REQUEST, JsonLines
from pipelines.errors import kind_of
from storage.store import Store

Values = dict[str, Any]
"""JSON values."""

log = logging.getLogger(__name__)


def run_steps(arguments: Values) -> Iterator[Values]:
    """Run steps of a build one after the other on the cluster of this job, and yield the handover after each."""
    from pipelines.build.handover import Handover, advance
    from pipelines.engine.execution import ExecutionConfig
    from pipelines.engine.ray import THIS_CLUSTER
    from pipelines.engine.session import Session

    handover = Handover(**arguments["handover"])
    config = ExecutionConfig.model_validate(arguments["run"])
    with Session(Store.open(handover.store), config, THIS_CLUSTER, Console(quiet=True)) as session:
        for step in arguments["steps"]:
            handover = advance(handover, step, session)
            yield handover.to_dict()


def run_training(arguments: Values) -> Iterator[Values]:
    """Train one stage on the cluster that runs this job, and yield the result."""
    from echox.training import TrainingRequest
    from pipelines.cluster.training import TrainingConfig, TrainingJob, train_on_ray
    from pipelines.engine.ray import THIS_CLUSTER

    job = TrainingJob(config=arguments["config"], request=arguments["request"])
    config = TrainingConfig.model_validate(job["config"])
    yield asdict(train_on_ray(config, TrainingRequest(**job["request"]), THIS_CLUSTER))


WORK: Mapping[str, Callable[[Values], Iterator[Values]]] = {"steps": run_steps, "train": run_training}
"""Kinds of work that a job can be asked for."""


def answer(request: Values) -> None:
    """Do the requested work and log each result, or the error.

    Raises:
        Exception: any error of the work, after it was logged.
    """
    try:
        check_environment(request["environment"])
        for made in WORK[request["work"]](request["arguments"]):
            log.debug("done", extra={"outcome": {"done": made}})
    except Exception as error:
        failed = {"error": str(error), "kind": kind_of(error), "traceback": traceback.format_exc()}
        log.debug("failed", extra={"outcome": failed})
        raise


def main() -> None:
    """Run the request of the environment variable."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for package in ("echox", "pipelines", "storage", "unitlang"):
        logging.getLogger(package).setLevel(logging.DEBUG)
    log.setLevel(logging.DEBUG)  # this module runs as `__main__`
    guarded(lambda: answer(json.loads(os.environ[REQUEST])))


if __name__ == "__main__":
    main()
