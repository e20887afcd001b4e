"""`echox debug`: run one work unit again, to see why it failed."""

from pdb import post_mortem
from typing import Annotated

import typer

from flows.command import Command, StoreArgument, print_json


def debug(
    store: StoreArgument,
    step: Annotated[str, typer.Argument(help="Step of the work unit, as the error names it.", show_default=False)],
    fingerprint: Annotated[str, typer.Argument(help="Work unit, as the error names it.", show_default=False)],
    pdb: Annotated[bool, typer.Option("--pdb", help="Open Python's debugger where the work unit fails.")] = False,
) -> None:
    """Run one work unit again, alone in this process, and print its receipt as JSON.

    A build that fails names the step and the fingerprint. Without --pdb, a failure ends with its traceback.
    """
    from pipelines.boundary import print_traceback
    from pipelines.build.debug import rerun
    from pipelines.errors import UserError

    try:
        receipt = rerun(store, step, fingerprint)
    except UserError:  # nothing to debug: no such step or work unit
        raise
    except Exception as error:
        if not pdb:
            raise
        print_traceback(error)
        post_mortem()
        raise typer.Exit(1) from None
    print_json(receipt.to_dict())


COMMAND = Command(debug, "Build", "echox debug examples/sample-corpus quantize 0123456789abcdef --pdb", rank=1)
