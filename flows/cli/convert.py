"""`echox convert`: the language model of a run, as other programs read it."""

from pathlib import Path
from typing import Annotated

import typer

from flows.command import Command, say


def convert(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of s2t or echo.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write into.", show_default=False)],
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the whole language model, LoRA merged, not LoRA alone.")
    ] = False,
) -> None:
    """Write the LoRA of a run for peft, or with --merge its language model for transformers."""
    from echox.hugging_face import write_language_model, write_lora
    from echox.recipes.folder import RunFolder

    (write_language_model if merge else write_lora)(RunFolder.open(run), out)
    say(f"{out}: written")


COMMAND = Command(convert, "Train", "echox convert runs/s2t --out lora")
