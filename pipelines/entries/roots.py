"""Paths of audio relative to the root of their source, so that a source may move.

A dataset whose sources have several roots keeps absolute paths.
"""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import TypeAdapter

from pipelines.errors import UserError
from pipelines.readers import Reader, SourceConfig
from pipelines.records import SpokenRow
from storage.versions import Version
from unitlang.audio.confinement import confine

_SOURCES: TypeAdapter[tuple[Reader, ...]] = TypeAdapter(tuple[SourceConfig, ...])
Roots = Mapping[str, str]
"""Root of the audio of each dataset: an absolute path or a URL, without a slash at its end; and `CONFINED`."""
CONFINED = "confined servers"
"""Key, which is no name of a dataset, of the servers of confined sources, with spaces between."""


def roots_of(sources: Iterable[Reader]) -> Roots:
    """The roots of the datasets whose sources all have the same one.

    Raises:
        UserError: no file system understands the URL of a source.
        Unreachable: its server does not answer.
    """
    sources, found = list(sources), dict[str, set[str]]()
    servers = {server for source in sources for server in source.confined_servers()}
    confine(servers)
    for source in sources:
        found.setdefault(source.dataset, set()).add(source.root())
    roots = {dataset: next(iter(of_dataset)) for dataset, of_dataset in found.items() if len(of_dataset) == 1}
    return roots | ({CONFINED: " ".join(sorted(servers))} if servers else {})


def keep_confined(roots: Roots) -> None:
    """Let this process, a worker, ask no other servers than the sources of these roots allow."""
    confine(roots.get(CONFINED, "").split(), more=True)


def recorded_roots(version: Version) -> Roots:
    """The roots of the sources that a version was built from, as its config names them.

    Raises:
        UserError, Unreachable: as `roots_of`.
    """
    return roots_of(_SOURCES.validate_python(version.config["sources"]))


def is_relative(uri: str) -> bool:
    """Return whether a URI in the store starts at the root of its dataset."""
    return not uri.startswith("/") and "://" not in uri


def relative(uri: str, root: str | None) -> str:
    """The URI from the root on, if it lies below; otherwise the URI itself."""
    rest = uri.removeprefix(f"{root}/")
    return rest if root is not None and is_relative(rest) else uri


def absolute(uri: str, root: str | None, dataset: str) -> str:
    """The URI that `relative` was given.

    Raises:
        UserError: it is relative, and no source has the dataset.
    """
    if not is_relative(uri):
        return uri
    if root is None:
        raise UserError(
            f"sources: the audio {uri} of dataset {dataset} is relative to the root of its source, but "
            f"{dataset!r} has none or several in the config; give it one source with the path where its audio lies"
        )
    return f"{root}/{uri}"


def located(rows: Sequence[SpokenRow], roots: Roots) -> Sequence[SpokenRow]:
    """Note the root of its dataset in each row, for `audio_files.row_streams`."""
    keep_confined(roots)
    for row in rows:
        if (root := roots.get(row["dataset"])) is not None:
            row["root"] = root
    return rows
