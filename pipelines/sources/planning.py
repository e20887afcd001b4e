"""Plan the work units of `ingest`: chunks of entries, of which only those that differ are computed."""

import gc
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.state import EntryChanges
from pipelines.engine.step import WorkUnit
from pipelines.entries.entries import Admission, Signature, same_file, to_line
from pipelines.entries.roots import Roots, absolute
from pipelines.readers.base import Gone, Item, digest16, read_source
from pipelines.readers.parquet_audio import RowGroupPart, is_parquet_uri, row_group_part
from pipelines.reading import READERS, read_ahead
from pipelines.records import Borders, IngestPayload, Receipts
from pipelines.sources.audio_files import contents
from pipelines.sources.cutting import row_groups
from pipelines.sources.digests import Digest
from pipelines.sources.following import Following
from pipelines.sources.gathering import gathered
from pipelines.sources.holdings import Chunk, Holdings, Lines, later_receipts, put_entries, read_listing
from pipelines.sources.retries import Retries
from pipelines.sources.screen import Screen
from storage.receipts import Receipt
from storage.store import Store
from unitlang.grouping import grouped, grouped_by_content

if TYPE_CHECKING:
    from pipelines.config.build import BuildConfig

GUESSED_SECONDS_PER_ITEM = 10.0
"""Assumed length of an item, for planning and progress; its real length is unknown before its header is read."""


class Planner:
    """Makes the work units of `ingest`.

    Args:
        store: the corpus; receives the entries of the work units.
        identity: of the configured step `ingest`.
        size: entries of a source in one work unit.
        roots: roots of the datasets.
        seeds: seeds of the samples of the fits.

    Attributes:
        new: work units of new entries.
    """

    def __init__(
        self, store: Store, identity: Sequence[Any], size: int, roots: Roots, seeds: Sequence[int] = ()
    ) -> None:
        self.store = store
        self.identity = identity
        self.size = size
        self.roots = roots
        self.seeds = seeds
        self.new: list[WorkUnit[IngestPayload]] = []
        self.holdings = Holdings(store, ())

    def add(self, groups: Iterable[Lines]) -> None:
        """Plan new entries of a source, in chunks that split no group and no part of a row group of Parquet.

        Segments of one file come together. The borders follow from the entries near them, so that a source that grows
        or shrinks before these are in a version moves few of them.
        """
        whole = map(_joined, row_groups(gathered(groups), self._part, _length, self.size))
        chunks = map(_joined, grouped_by_content(whole, _length, _mark, self.size))
        # Some at a time, so that their requests run side by side although the driver takes longer to plan one.
        batches = grouped(chunks, lambda batch, _: len(batch) >= READERS)
        self.new += read_ahead(
            partial(self._work_unit, chunk, borders="content") for batch in batches for chunk in batch
        )

    def _part(self, group: Lines) -> RowGroupPart | None:
        """The part of a row group of Parquet that the audio of the first entry of a group lies in."""
        if "#row=" not in group.lines[0]:
            return None
        item = json.loads(group.lines[0])["item"]
        uri, dataset = str(item.get("uri")), item["dataset"]
        return row_group_part(absolute(uri, self.roots.get(dataset), dataset)) if is_parquet_uri(uri) else None

    def changed(self) -> Iterator[WorkUnit[IngestPayload]]:
        """Yield the work units of chunks with changed entries."""
        return read_ahead(
            partial(self._work_unit, made, [chunk.receipt.fingerprint], chunk.borders)
            for chunk in self.holdings.chunks
            if chunk.changed and (made := self.holdings.replaced(chunk)).lines
        )

    def kept(self) -> list[Receipt]:
        """Receipts of the chunks that stay."""
        return [chunk.receipt for chunk in self.holdings.chunks if not chunk.changed]

    def regrouped(self, keeps_rows: bool) -> Iterator[WorkUnit[IngestPayload]]:
        """Yield work units of another size of all old entries; `keeps_rows` takes their rows over."""
        groups = ((group, chunk) for chunk in self.holdings.chunks for group in self.holdings.groups_after(chunk))
        if all(chunk.borders for chunk in self.holdings.chunks):
            borders = "content"
            parts = grouped_by_content(groups, lambda one: _length(one[0]), lambda one: _mark(one[0]), self.size)
        else:  # the files of an older program stay as they are
            borders = None
            parts = grouped(groups, lambda part, _: sum(_length(group) for group, _ in part) >= self.size)
        return read_ahead(partial(self._regrouped, part, keeps_rows, borders) for part in parts)

    def _regrouped(
        self, part: Sequence[tuple[Lines, Chunk]], keeps_rows: bool, borders: Borders | None
    ) -> WorkUnit[IngestPayload]:
        names = list(dict.fromkeys(chunk.receipt.fingerprint for _, chunk in part))
        return self._work_unit(_joined([group for group, _ in part]), names if keeps_rows else (), borders)

    def _work_unit(
        self, made: Lines, taken: Sequence[str] = (), borders: Borders | None = None
    ) -> WorkUnit[IngestPayload]:
        made = self._settled(made, borders)
        name = self._name(made, borders)
        payload = IngestPayload(path=put_entries(self.store, name, made), roots=self.roots, seeds=self.seeds)
        if taken:
            payload["taken"] = taken
        if borders:
            payload["borders"] = borders
        return WorkUnit(name, payload, GUESSED_SECONDS_PER_ITEM * len(made.lines))

    def _name(self, made: Lines, borders: Borders | None) -> str:
        return fingerprint(*self.identity, list(made.lines), *([borders] if borders else ()))

    def _settled(self, made: Lines, borders: Borders | None) -> Lines:
        """Mark entries with the contents of their files, if these changed since an unfinished build planned them.

        The receipt of that build would otherwise be taken for one of the files of today.
        """
        before = read_listing(self.store, self._name(made, borders))
        if before is None or all(map(same_file, before.signatures, made.signatures)):
            return made
        lines = [
            line if same_file(old, new) else self._marked(line)
            for line, old, new in zip(made.lines, before.signatures, made.signatures, strict=True)
        ]
        return replace(made, lines=lines)

    def _marked(self, line: str) -> str:
        values = json.loads(line)
        item = Item(**values["item"])
        located = replace(item, uri=absolute(str(item.uri), self.roots.get(item.dataset), item.dataset))
        return to_line(values["item"], contents([located])[0], without=values.get("without", ()))


def _length(group: Lines) -> int:
    return len(group.lines)


def _mark(group: Lines) -> bytes:
    """Digest by which a group may be the last of its chunk."""
    return digest16(group.lines[0])


def _joined(groups: Iterable[Lines]) -> Lines:
    lines, signatures, rights = list[str](), list[Signature | None](), True
    for group in groups:
        lines += group.lines
        signatures += group.signatures
        rights &= group.rights
    return Lines(lines, signatures, rights)


def follow(
    planner: Planner,
    config: "BuildConfig",
    steps: Receipts,
    screen: Screen,
    retries: Retries,
    digests: Mapping[str, Digest] = MappingProxyType({}),
    *,
    cleared: bool,
) -> Following:
    """Compare the sources of a build with the work units of its parent version; the planner receives what differs.

    Args:
        planner: makes the work units.
        config: of the build.
        steps: receipts of the parent version; those of the later steps tell what they rejected.
        screen: leaves out what is suppressed.
        retries: rejects that are tried again.
        digests: valid digests of work units of the parent version.
        cleared: the parent version was made with the same suppression lists.

    Raises:
        UserError: a source cannot be read, or entries are gone that must not be.
        StorageError: the store cannot be read or written.
    """
    renamed = {source.renamed_from: source.dataset for source in config.sources if source.renamed_from}
    later, ingested = later_receipts(steps), steps.get("ingest", ())
    planner.holdings = Holdings(planner.store, ingested, renamed, later, digests, planner.roots)
    if not cleared:
        screen.clear(planner.holdings)
    following = Following(planner.holdings, planner.roots, screen, rehash=config.run.rehash, retries=retries)
    with _without_collection():
        ids = _compared(planner, config, screen, following)
    following.look()
    policies: dict[str, Gone] = {source.dataset: source.gone for source in config.sources}
    following.leave_out(policies, config.gone or "fail", ids)
    planner.holdings.put_signed()
    return following


@contextmanager
def _without_collection() -> Generator[None]:
    """No search for garbage in circles meanwhile: entries make none, and it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compared(planner: Planner, config: "BuildConfig", screen: Screen, following: Following) -> set[bytes]:
    """Compare the listings of the sources; return the digests of the ids that they list."""
    allows = screen.allows if screen.suppression.utterances else None
    admission = Admission(planner.roots, allows, several=len(config.sources) > 1)
    for position, source in enumerate(config.sources):
        groups = admission.groups(read_source(source, position))
        planner.add(following.new(groups, rights=bool(source.rights())))
    return admission.ids


def clear(planner: Planner, receipts: Sequence[Receipt], screen: Screen) -> EntryChanges:
    """Take what is suppressed out of the work units of a version, whose sources are not listed.

    Raises:
        StorageError: the store cannot be read or written.
    """
    planner.holdings = Holdings(planner.store, receipts)
    screen.clear(planner.holdings)
    kept = sum(held.count for held in planner.holdings.groups.values())
    return EntryChanges(kept=kept)


def left_out(count: int, *, recompute: bool) -> str:
    """The message of a build that would have to read files that are gone."""
    anew = "recompute: ingest reads" if recompute else "features: with another frame grid, ingest reads"
    return (
        f"{anew} all speech again, but the sources no longer list {count} entries of the corpus; bring them back, "
        "or set `gone: remove`"
    )
