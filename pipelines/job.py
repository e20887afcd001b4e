"""What a Ray job of ours runs: `python -m pipelines.job REQUEST`, with the request as JSON; `pipelines.jobs` sends it.

Its log is JSON lines; what it made, or why it failed, it leaves in the store.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from pipelines.boundary import guarded
from pipelines.environment import check_environment
from pipelines.errors import USER_ERRORS, UserError
from pipelines.job_log import JsonLines
from storage.receipts import to_json
from storage.store import Store

Values = dict[str, Any]
"""JSON values."""


def run_step(arguments: Values) -> Values:
    """One step of a build, on the cluster that runs this job."""
    from pipelines.handover import Handover, advance
    from pipelines.session import THIS_CLUSTER, RunConfig, Session

    handover = Handover(**arguments["handover"])
    config = RunConfig.model_validate(arguments["run"])
    with Session(Store.open(handover.store), config, THIS_CLUSTER, Console(quiet=True)) as session:
        return advance(handover, arguments["step"], session).to_dict()


WORK: Mapping[str, Callable[[Values], Values]] = {"step": run_step}
"""What a job can be asked for."""


def answer(request: Values) -> None:
    """Do what is asked for, and leave the result or the error in the store."""
    store = Store.open(request["store"])
    try:
        check_environment(request["environment"])
        done = WORK[request["work"]](request["arguments"])
    except Exception as error:
        failed = {"error": str(error), "kind": kind_of(error), "traceback": traceback.format_exc()}
        store.put(request["result"], to_json(failed))
        raise
    store.put(request["result"], to_json({"done": done}))


def kind_of(error: Exception) -> str:
    """Whose fault it is: the user's, a store's or source's, or the program's."""
    if isinstance(error, UserError):
        return "user"
    return "place" if isinstance(error, USER_ERRORS) else "failure"


def main() -> None:
    """Answer the request on the command line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for package in ("echox", "pipelines", "storage", "unitlang"):
        logging.getLogger(package).setLevel(logging.DEBUG)
    guarded(lambda: answer(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
