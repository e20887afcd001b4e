"""Parquet files of audio datasets in the layout of the Hugging Face Hub."""
# pyarrow has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import pyarrow as pa

from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers.base import BadItem, Item, Reader, Reads
from pipelines.readers.parquet_audio import open_parquet, parquet_fault, parquet_uri
from pipelines.readers.places import LEADS_OUT, Place, reading
from pipelines.readers.rows import fields
from pipelines.readers.rows.channels import get_channel
from pipelines.readers.rows.names import ColumnCheck
from pipelines.readers.rows.parquet_columns import Columns, find_columns, is_decoded, no_audio, read_rows
from pipelines.readers.rows.paths import locate
from pipelines.readers.rows.times import WHOLE, are_cut, get_segment, look_ahead
from unitlang.errors import Unreachable

SHARD_NAME = re.compile(r"(?:.*/)?(?P<split>[^/]+)-\d+-of-\d+(?:-[0-9a-f]+)?\.parquet")
"""Names of a split's files on the Hub: `train-00000-of-00012.parquet`."""


@dataclass(frozen=True)
class _Shard:
    """One file: its place, name in the source, size in bytes, stamp, split, columns and folders of paths."""

    place: Place
    name: str
    size: int
    stamp: str | None
    split: str | None
    columns: Columns
    folders: tuple[Place, ...]

    def audio(self, row: int, has_bytes: bool, record: Mapping[str, Any]) -> tuple[str, int | None, str | None]:
        """Return URI, size and stamp of a row's audio.

        Raises:
            ValueError: the row has no audio.
        """
        if has_bytes:
            return parquet_uri(self.place.uri, row, self.columns.audio), self.size, self.stamp
        path = self.columns.path_of(record)
        if path is None:
            raise ValueError(f"column {self.columns.audio!r} is empty: neither bytes nor a path")
        audio, size = locate(path, *self.folders)
        return audio.uri, size, None


class HfParquetReader(Reader):
    """A Parquet file, a folder of them, or a pattern (`data/train-*.parquet`), with audio as bytes or paths.

    The audio column is `struct<bytes, path>` as the `datasets` library writes it, or plain bytes, or paths (relative to
    the Parquet file's folder, or to the source's). The items' URIs name the row, their size is that of the Parquet
    file. Optional columns: speaker, speaker_id or client_id; language, lang or locale; split (otherwise taken from the
    file name, `train-00000-of-00012.parquet`); start or offset, end, duration of a segment. Datasets of this layout
    often state times of the recording that the audio was cut from: the audio of the first rows tells which it is.
    Utterance ids are `<dataset>/<id>`, or `<dataset>/<file without extension>-<row>`.
    """

    reads: ClassVar[Reads] = "file, folder or pattern"
    kind: Literal["hf_parquet"] = "hf_parquet"
    """Parquet files with an audio column, as on the Hugging Face Hub."""
    audio_column: str = "audio"
    """Column of the audio."""
    text_column: str | None = None
    """Column of the text; default: text, sentence, transcription, transcript or normalized_text."""
    id_column: str | None = None
    """Column of the id; default: `id` if there is one."""
    ignore_columns: tuple[str, ...] = ()
    """Columns to read as if they were not there."""
    audio_dir: ConfigPath | None = None
    """Folder that relative audio paths start from; default: that of the Parquet file, then that of the source."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the rows file by file, in the order of the files' paths.

        Raises:
            UserError: there is no such file, no file matches, a required column is missing, or a column is not
                understood.
        """
        for place, name in self._files():
            if self.outside(place.uri):
                yield self.bad(place.uri, "outside", LEADS_OUT)
                continue
            file = self._open(place)
            if isinstance(file, BadItem):
                yield file
            else:
                yield from self._rows(file, self._columns(file.schema_arrow, place.uri), place, name)

    def _open(self, place: Place) -> Any:
        """Open the Parquet file; return a `BadItem` if it is not one."""
        with reading(place.uri):
            try:
                return open_parquet(place)
            except (UserError, pa.ArrowException, OSError) as error:
                reason = parquet_fault(error, place)
                if reason is None:
                    raise
                return self.bad(place.uri, reason, f"not a readable Parquet file: {error}")

    def _files(self) -> Iterator[tuple[Place, str]]:
        """Yield every file and its name below the source's folder, sorted."""
        place = Place.of(self.path)
        pattern = "*.parquet"
        if not place.is_folder():
            if not any(character in place.name for character in "*?["):
                place.file_facts()  # a missing file is a fault of the config, not of the data
                yield place, place.name
                return
            place, pattern = place.parent, place.name
        names = [entry.name for entry in place.files() if fnmatchcase(entry.name, pattern)]
        if not names:
            raise UserError(f"{place.uri}: no Parquet file matches {pattern!r}")
        for name in names:
            yield place.child(name), name

    def _columns(self, schema: Any, uri: str) -> Columns:
        names = [name for name in schema.names if name not in self.ignore_columns]
        return find_columns(schema, names, uri, audio=self.audio_column, text=self.text_column, key=self.id_column)

    def _rows(self, file: Any, columns: Columns, place: Place, name: str) -> Iterator[Item | BadItem]:
        match = SHARD_NAME.fullmatch(name)
        split = match["split"] if match else self.split
        shard = _Shard(place, name, *place.file_facts(), split, columns, self._folders(place))
        check = ColumnCheck(place.uri, (columns.text,) if columns.text else fields.TEXT, "`text_column: {}`")
        head, rows = look_ahead(read_rows(file, columns))
        uris = list(self.inner(_with_uris(shard, head)))
        if is_decoded(kind := file.schema_arrow.field(columns.audio).type) and not any(map(_exists, uris)):
            raise UserError(f"{place.uri}: {no_audio(kind, columns.audio)}")
        cut = are_cut(uris)
        row = 0
        try:
            for has_bytes, record in rows:
                check(columns.facts(record))
                try:
                    yield self._item(shard, row, has_bytes, record, cut)
                except ValueError as error:
                    yield self.bad(f"{place.uri}, row {row}", "bad_row", str(error))
                row += 1
        except (pa.ArrowException, OSError) as error:
            fault = f"Parquet cannot read row {row} and the rows after it: {error}"
            reason = parquet_fault(error, place)
            if reason is None:
                raise Unreachable(f"{place.uri}: {fault}") from error
            yield self.bad(place.uri, reason, fault)

    def _folders(self, place: Place) -> tuple[Place, ...]:
        """Return the folders that paths in a file may start from, best first."""
        if self.audio_dir:
            return (Place.of(self.audio_dir),)
        root = Place.of(self.path)
        above = [root] if place.path.startswith(root.path.rstrip("/") + "/") else []
        return (place.parent, *above)

    def _item(self, shard: _Shard, row: int, has_bytes: bool, record: Mapping[str, Any], cut: bool) -> Item:
        columns = shard.columns
        segment = WHOLE if cut else get_segment(columns.facts(record))
        uri, size, stamp = shard.audio(row, has_bytes, record)
        name = columns.text_of(record, columns.id) or f"{shard.name.removesuffix('.parquet')}-{row}"
        return Item(
            utterance_id=f"{self.dataset}/{name}",
            dataset=self.dataset,
            uri=uri,
            size=size,
            stamp=stamp,
            offset_samples=segment.offset,
            num_samples=segment.length,
            native=segment.native,
            channel=get_channel(columns.facts(record)),
            split=columns.text_of(record, columns.split) or shard.split,
            task=self.task,
            language=columns.text_of(record, columns.language) or self.language,
            speaker_id=columns.text_of(record, columns.speaker),
            text=columns.text_of(record, columns.text),
            **columns.rights_of(record),
        )


def _with_uris(
    shard: _Shard, rows: Iterable[tuple[bool, Mapping[str, Any]]]
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the columns of rows that may be times, with the URI of their audio."""
    for row, (has_bytes, record) in enumerate(rows):
        try:
            yield shard.columns.facts(record), shard.audio(row, has_bytes, record)[0]
        except ValueError:  # the row is a reject
            continue


def _exists(row: tuple[Mapping[str, Any], str | None]) -> bool:
    """Return whether the audio of a row may exist: a file that is there, or one that only a request can tell."""
    uri = row[1]
    if uri is None:
        return False
    place = Place.of(uri)
    return not place.local or place.size() is not None
