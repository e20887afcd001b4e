"""Entry point of the Ray jobs that `pipelines.cluster.jobs` submits.

An environment variable holds the request. The job logs JSON lines, which include its results or its error.
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
from unitlang.printing import shown_lines

Values = dict[str, Any]
"""JSON values."""

log = logging.getLogger(__name__)


def run_steps(arguments: Values) -> Iterator[Values]:
    """Run steps of a build on the cluster of this job; yield the handover of each as JSON values.

    Raises:
        UserError: config or sources are invalid, or too many entries are rejected.
        StorageError: the store cannot be read or written, or another build committed first.
    """
    from pipelines.build.handover import Handover, advance
    from pipelines.engine.execution import ExecutionConfig
    from pipelines.engine.ray import THIS_CLUSTER
    from pipelines.engine.session import Session
    from storage.collecting.marks import at_work

    handover = Handover(**arguments["handover"])
    config = ExecutionConfig.model_validate(arguments["run"])
    store = Store.open(handover.store)
    with at_work(store), Session(store, config, THIS_CLUSTER, Console(quiet=True)) as session:
        for step in arguments["steps"]:
            handover = advance(handover, step, session)
            yield handover.to_dict()


def run_training(arguments: Values) -> Iterator[Values]:
    """Train one stage on the cluster of this job; yield the result as JSON values.

    Raises:
        UserError: the config is invalid or the cluster lacks the resources.
        EchoxError: the training refuses its request or its data.
    """
    from echox.training import TrainingRequest
    from pipelines.cluster.training import TrainingConfig, TrainingJob, train_on_ray
    from pipelines.engine.ray import THIS_CLUSTER

    job = TrainingJob(config=arguments["config"], request=arguments["request"])
    config = TrainingConfig.model_validate(job["config"])
    yield asdict(train_on_ray(config, TrainingRequest(**job["request"]), THIS_CLUSTER))


WORK: Mapping[str, Callable[[Values], Iterator[Values]]] = {"steps": run_steps, "train": run_training}
"""Functions by the kind of work that a request names."""


def answer(request: Values) -> None:
    """Do the requested work; log each result, or the error.

    Raises:
        Exception: the error of the work, after it is logged.
    """
    try:
        check_environment(request["environment"])
        for made in WORK[request["work"]](request["arguments"]):
            log.debug("done", extra={"outcome": {"done": made}})
    except Exception as error:
        failed = {
            "error": shown_lines(str(error)),
            "kind": kind_of(error),
            "traceback": shown_lines(traceback.format_exc()),
        }
        log.debug("failed", extra={"outcome": failed})
        raise


def main() -> None:
    """Set up logging and answer the request of the environment."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for package in ("echox", "pipelines", "storage", "unitlang"):
        logging.getLogger(package).setLevel(logging.DEBUG)
    log.setLevel(logging.DEBUG)  # named `__main__`, so not below the loggers above
    guarded(lambda: answer(json.loads(os.environ[REQUEST])))


if __name__ == "__main__":
    main()
