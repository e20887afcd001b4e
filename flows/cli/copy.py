"""`echox copy`: corpus versions from one store to another."""

from typing import Annotated

import typer

from flows.command import Command


def copy(
    corpus: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE[@VERSION]",
            help="Store to copy all versions of, or STORE@VERSION, several of one store if wanted.",
            show_default=False,
        ),
    ],
    target: Annotated[
        str, typer.Argument(help="Folder or s3:// URL to copy to; made if it does not exist.", show_default=False)
    ],
) -> None:
    """Copy versions of a corpus to another store, with approvals, reports and model cards.

    Every file is compared with its recorded SHA-256.

    The same command resumes an interrupted copy, and later brings what is new.
    """
    from rich.console import Console
    from rich.filesize import decimal

    from pipelines.engine.progress import BytesProgress, bar
    from storage.collecting.marks import at_work
    from storage.copying.copy import copy_versions
    from storage.copying.plan import asked_for, open_target, plan_copy
    from storage.versions import described

    source, numbers = asked_for(corpus)
    copied_to = open_target(target, source)
    with at_work(copied_to):
        plan = plan_copy(source, numbers, copied_to)
        with bar("copy", plan.bytes, Console(stderr=True), BytesProgress) as shown:
            for file in copy_versions(plan):
                shown.advance(file.bytes)
    copied = f"{plan.files} tables copied ({decimal(plan.bytes)}), {plan.files_there} were there"
    print(f"{plan.target.uri}: version{'s' * (len(numbers) > 1)} {described(numbers)}; {copied}")  # noqa: T201


COMMAND = Command(copy, "Keep", "echox copy examples/sample-corpus s3://bucket/corpus")
