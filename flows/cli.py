"""The `echox` command line."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from pipelines.boundary import guarded

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Speech to unit-language corpora: build, inspect, verify, versions, encode.",
)

Corpus = Annotated[str, typer.Argument(help="Store, or STORE@VERSION.", metavar="STORE[@VERSION]", show_default=False)]


@app.command(epilog="Example: echox build examples/sample.yaml --set quantizer.k=200 --store s3://bucket/corpus")
def build(
    config: Annotated[Path, typer.Argument(help="YAML file; docs/config.md tells its fields.", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; the value is YAML."),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Folder or s3:// URL, instead of the config's.")] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster for the large steps (host:6379); default: this machine."),
    ] = None,
) -> None:
    """Build a corpus, or bring it up to date: what is done already is not done again."""
    from flows.report import page, tables
    from pipelines.build import build as build_corpus
    from pipelines.config import load_config
    from storage.store import Store

    out = Console(stderr=True, markup=False)
    built = build_corpus(load_config(config, set_ or (), store), out, ray)
    path = f"reports/{built.manifest.version:08d}.html"
    place = Store.open(built.manifest.store)
    if not place.exists(path):
        place.put(path, page(built.manifest).encode())
    if not built.new:
        out.print(f"nothing to do: version {built.manifest.version} of {built.manifest.store} is up to date")
        return
    Console(markup=False).print(tables(built.manifest))
    out.print(
        f"version {built.manifest.version} of {built.manifest.store}; report: {place.url(path)}",
        soft_wrap=True,
    )


@app.command(epilog="Example: echox inspect examples/sample-corpus@1 --json")
def inspect(
    corpus: Corpus, as_json: Annotated[bool, typer.Option("--json", help="The same facts as JSON.")] = False
) -> None:
    """Show hours, rejects, compression per dataset and lineage of a corpus version."""
    from flows.report import facts, tables
    from storage.manifests import resolve

    _, manifest = resolve(corpus)
    if as_json:
        print_json(facts(manifest))
    else:
        Console(markup=False).print(tables(manifest))


@app.command(epilog="Example: echox verify examples/sample-corpus")
def verify(corpus: Corpus) -> None:
    """Check all checksums and counts of a version, and that every row decodes back."""
    from pipelines.verify import verify as problems_of
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
    """List the versions of a corpus."""
    from flows.report import versions_table
    from storage.manifests import load
    from storage.manifests import versions as numbers_of
    from storage.store import Store

    place = Store.open(store)
    Console(markup=False).print(versions_table([load(place, number) for number in numbers_of(place)]))


@app.command(epilog="Example: echox encode question.wav --store examples/sample-corpus")
def encode(
    audio: Annotated[list[str], typer.Argument(help="Audio files or URLs.", show_default=False)],
    store: Annotated[str, typer.Option(help="STORE or STORE@VERSION whose quantizer and unit language to use.")],
) -> None:
    """Print units and words of audio files, a JSON line each."""
    from pipelines.encode_audio import Encoder

    encoder = Encoder.of(store)
    for path in audio:
        print_json(encoder(path), indent=None)


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
