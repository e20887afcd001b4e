"""The `echox` command line."""

import json
import logging
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from flows.train import train
from pipelines.boundary import guarded
from pipelines.options import Changes, ConfigFile, RayAddress, StorePlace

if TYPE_CHECKING:
    from pipelines.build.commit import Built

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Speech to unit-language corpora, and EchoX trained on them.",
)

NEEDS_A_LOOK = 3
"""Exit code of a build whose version a person must approve."""

SERVER_RETRIES = "9"
"""With Prefect's doubling pauses a build outlives a server that is away for minutes; its own 5 are one minute."""

Corpus = Annotated[str, typer.Argument(help="Store, or STORE@VERSION.", metavar="STORE[@VERSION]", show_default=False)]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"echox {version('echox')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def echox(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command(epilog="Example: echox build examples/sample.yaml --set quantizer.k=200 --store s3://bucket/corpus")
def build(config: ConfigFile, changes: Changes = None, store: StorePlace = None, ray: RayAddress = None) -> None:
    """Build a corpus, or bring it up to date: what is done already is not done again.

    Where PREFECT_API_URL is set, the build reports to that Prefect server.
    """
    from pipelines.config.build import load_config

    out = Console(stderr=True, markup=False)
    values = load_config(config, changes or (), store)
    if "PREFECT_API_URL" in os.environ:
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", SERVER_RETRIES)
        from flows.corpus import build_as_flow

        _report(build_as_flow(values, ray), out)
    else:
        from pipelines.build.build import build as build_corpus

        _report(build_corpus(values, out, ray), out)


def _report(built: "Built", out: Console) -> None:
    """Leave the page of the version in the store, and show what was made."""
    from flows.report.facts import facts
    from flows.report.html import leave_report
    from flows.report.terminal import tables
    from storage.store import Store

    manifest = built.manifest
    found = facts(Store.open(manifest.store), manifest)
    report = leave_report(Store.open(manifest.store), found)
    if built.new:
        Console(markup=False).print(tables(found))
        counts = f"entries: {built.added:,} new, {built.kept:,} kept"
        out.print(f"version {manifest.version} of {manifest.store}; {counts}; report: {report}", soft_wrap=True)
    else:
        out.print(f"nothing to do: version {manifest.version} of {manifest.store} is up to date", soft_wrap=True)
    if found["status"] == "candidate":
        out.print(f"needs a look: {'; '.join(manifest.review)}; then: echox approve {manifest.uri}", soft_wrap=True)
        raise typer.Exit(NEEDS_A_LOOK)


@app.command(epilog="Example: echox approve examples/sample-corpus@2")
def approve(corpus: Corpus) -> None:
    """Approve a version that a build left as a candidate, so that it may be trained on."""
    from storage.approvals import approve as approved
    from storage.manifests import resolve

    store, manifest = resolve(corpus)
    done = approved(store, manifest)
    print(f"{manifest.uri}: {'approved' if done else 'nothing to approve'}")  # noqa: T201


@app.command(epilog="Example: echox inspect examples/sample-corpus@1 --json")
def inspect(
    corpus: Corpus, as_json: Annotated[bool, typer.Option("--json", help="The same facts as JSON.")] = False
) -> None:
    """Show hours, rejects, compression per dataset, settings and lineage of a corpus version."""
    from flows.report.facts import facts
    from flows.report.terminal import tables
    from storage.manifests import resolve

    found = facts(*resolve(corpus))
    if as_json:
        print_json(found)
    else:
        Console(markup=False).print(tables(found))


@app.command(epilog="Example: echox verify examples/sample-corpus")
def verify(corpus: Corpus) -> None:
    """Check all checksums and counts of a version, and that every row decodes back."""
    from pipelines.build.verify import verify as problems_of
    from storage.manifests import resolve

    store, manifest = resolve(corpus)
    problems = 0
    for problem in problems_of(store, manifest):
        problems += 1
        print(f"wrong: {problem}", file=sys.stderr)  # noqa: T201
    if problems:
        print(f"{manifest.uri}: {problems} problems", file=sys.stderr)  # noqa: T201
        raise typer.Exit(1)
    files = sum(len(receipt.files) for receipts in manifest.steps.values() for receipt in receipts)
    print(f"{manifest.uri}: {files} files whole, every row decodes back")  # noqa: T201


@app.command(epilog="Example: echox versions examples/sample-corpus")
def versions(store: Annotated[str, typer.Argument(help="Folder or s3:// URL.", show_default=False)]) -> None:
    """List the versions of a corpus, with what tells them apart."""
    from flows.report.facts import summary
    from flows.report.terminal import versions_table
    from storage.manifests import history

    place, manifests = history(store)
    Console(markup=False).print(versions_table([summary(place, manifest) for manifest in manifests]))


@app.command(epilog="Example: echox encode question.wav --store examples/sample-corpus")
def encode(
    audio: Annotated[list[str], typer.Argument(help="Audio files or URLs.", show_default=False)],
    store: Annotated[str, typer.Option(help="STORE or STORE@VERSION whose quantizer and unit language to use.")],
) -> None:
    """Print units and words of audio files, a JSON line each; files that cannot be used are told, the others done."""
    from pipelines.build.encode_audio import Encoder
    from pipelines.errors import USER_ERRORS

    encoder = Encoder.of(store)
    failed = 0
    for path in audio:
        try:
            print_json(encoder(path), indent=None)
        except USER_ERRORS as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
    if failed:
        raise typer.Exit(2)


app.command(epilog="Example: echox train t2c --corpus examples/sample-corpus --preset tiny --out runs/t2c")(train)


def print_json(values: dict[str, Any], indent: int | None = 1) -> None:
    """JSON on standard output."""
    print(json.dumps(values, indent=indent, ensure_ascii=False))  # noqa: T201


def main() -> None:
    """Entry point of the `echox` command."""
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", datefmt="%X", handlers=[handler])
    for package in ("pipelines", "storage", "unitlang"):
        logging.getLogger(package).setLevel(logging.INFO)
    guarded(lambda: app(standalone_mode=True))
