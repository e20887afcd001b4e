"""`echox encode`: units and words of new audio."""

from typing import Annotated

import typer

from flows.command import Command, complain, print_json


def encode(
    audio: Annotated[list[str], typer.Argument(help="Audio files or URLs.", show_default=False)],
    store: Annotated[str, typer.Option(help="STORE or STORE@VERSION whose quantizer and unit language to use.")],
    channel: Annotated[
        int | None, typer.Option(min=0, help="Channel to encode, from 0; default: the mix of all.", show_default=False)
    ] = None,
) -> None:
    """Print the units and words of audio files, one JSON line per file.

    Unusable files are reported on stderr and skipped; the exit code is then 2.
    """
    from pipelines.build.encode_audio import Encoder
    from pipelines.errors import USER_ERRORS

    encoder = Encoder.of(store)
    failed = 0
    for path in audio:
        try:
            print_json(encoder(path, channel), indent=None)
        except USER_ERRORS as error:
            failed += 1
            complain(f"error: {error}")
    if failed:
        raise typer.Exit(2)


COMMAND = Command(encode, "Speak", "echox encode question.wav --store examples/sample-corpus")
