"""Parquet files of audio datasets in the layout of the Hugging Face Hub."""
# pyarrow has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import repeat
from typing import Any, ClassVar, Literal

import pyarrow as pa

from pipelines.errors import UserError
from pipelines.readers import fields
from pipelines.readers.base import BadItem, Item, Reader, Reads
from pipelines.readers.parquet_audio import audio_leaf, open_parquet, parquet_fault, parquet_uri
from pipelines.readers.places import Place, reading
from unitlang.errors import Unreachable

SHARD_NAME = re.compile(r"(?:.*/)?(?P<split>[^/]+)-\d+-of-\d+(?:-[0-9a-f]+)?\.parquet")
"""Names of a split's files on the Hub: `train-00000-of-00012.parquet`."""


BATCH_ROWS = 1024
AUDIO_BATCH_ROWS = 16
"""Rows per read: of the light columns, and of the audio if it must be checked."""


@dataclass(frozen=True)
class _Columns:
    """The columns of one file; those other than the audio's bytes are light."""

    audio: str
    bytes_leaf: str | None
    path_leaf: str | None
    id: str | None
    text: str | None
    speaker: str | None
    language: str | None
    split: str | None

    def light_leaves(self) -> list[str]:
        named = (self.path_leaf, self.id, self.text, self.speaker, self.language, self.split)
        return sorted({name for name in named if name})

    def path_of(self, record: Mapping[str, Any]) -> str | None:
        """Return the audio's path in a row."""
        return fields.get_path(record, (self.audio,)) if self.path_leaf else None

    def text_of(self, record: Mapping[str, Any], column: str | None) -> str | None:
        """Return a column's value in a row as a string."""
        return fields.get_text(record, (column,)) if column else None


@dataclass(frozen=True)
class _Shard:
    """One file: its place, its name in the source, its size in bytes, its split and its columns."""

    place: Place
    name: str
    size: int
    split: str | None
    columns: _Columns

    def audio(self, row: int, has_bytes: bool, record: Mapping[str, Any]) -> tuple[str, int | None]:
        """Return URI and size of a row's audio.

        Raises:
            ValueError: the row has no audio.
        """
        if has_bytes:
            return parquet_uri(self.place.uri, row, self.columns.audio), self.size
        path = self.columns.path_of(record)
        if path is None:
            raise ValueError(f"column {self.columns.audio!r} is empty: neither bytes nor a path")
        audio = self.place.parent.join(path)
        return audio.uri, audio.size()


class HfParquetReader(Reader):
    """A Parquet file, a folder of them, or a pattern (`data/train-*.parquet`), with audio as bytes or paths.

    The audio column is `struct<bytes, path>` as the `datasets` library writes it, or plain bytes, or paths (relative to
    the Parquet file's folder). The reader does not read the bytes: the items' URIs name the row, their size is that of
    the Parquet file. Optional columns: speaker, speaker_id or client_id; language, lang or locale; split (otherwise
    taken from the file name, `train-00000-of-00012.parquet`). Utterance ids are `<dataset>/<id>`, or
    `<dataset>/<file without extension>-<row>`.
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

    def read(self) -> Iterator[Item | BadItem]:
        """List the rows file by file, in the order of the files' paths.

        Raises:
            UserError: there is no such file, no file matches, or a required column is missing.
        """
        for place, name in self._files():
            file = self._open(place)
            if isinstance(file, BadItem):
                yield file
            else:
                yield from self._rows(file, self._columns(file.schema_arrow, place), place, name)

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
                place.file_size()  # a missing file is a fault of the config, not of the data
                yield place, place.name
                return
            place, pattern = place.parent, place.name
        names = [entry.name for entry in place.files() if fnmatchcase(entry.name, pattern)]
        if not names:
            raise UserError(f"{place.uri}: no Parquet file matches {pattern!r}")
        for name in names:
            yield place.child(name), name

    def _columns(self, schema: Any, place: Place) -> _Columns:
        """Find the columns to read.

        Raises:
            UserError: a requested column is missing, or the audio column holds no audio.
        """
        names: list[str] = list(schema.names)
        for wanted in (self.audio_column, self.text_column, self.id_column):
            if wanted is not None and wanted not in names:
                raise UserError(f"{place.uri}: no column {wanted!r}; there are {', '.join(names)}")
        path = _path_leaf(schema.field(self.audio_column).type, self.audio_column)
        leaf = _bytes_leaf(schema, self.audio_column)
        if leaf is None and path is None:
            kind = schema.field(self.audio_column).type
            fault = f"column {self.audio_column!r} of type {kind} holds neither bytes nor paths"
            raise UserError(f"{place.uri}: {fault}")
        return _Columns(
            audio=self.audio_column,
            bytes_leaf=leaf,
            path_leaf=path,
            id=self.id_column or fields.first_of(("id",), names),
            text=self.text_column or fields.first_of(fields.TEXT, names),
            speaker=fields.first_of(fields.SPEAKER, names),
            language=fields.first_of(fields.LANGUAGE, names),
            split=fields.first_of(("split",), names),
        )

    def _rows(self, file: Any, columns: _Columns, place: Place, name: str) -> Iterator[Item | BadItem]:
        match = SHARD_NAME.fullmatch(name)
        shard = _Shard(place, name, place.file_size(), match["split"] if match else self.split, columns)
        row = 0
        try:
            for has_bytes, record in _read_rows(file, columns):
                try:
                    yield self._item(shard, row, has_bytes, record)
                except ValueError as error:
                    yield self.bad(f"{place.uri}, row {row}", "bad_row", str(error))
                row += 1
        except (pa.ArrowException, OSError) as error:
            fault = f"Parquet cannot read row {row} and the rows after it: {error}"
            reason = parquet_fault(error, place)
            if reason is None:
                raise Unreachable(f"{place.uri}: {fault}") from error
            yield self.bad(place.uri, reason, fault)

    def _item(self, shard: _Shard, row: int, has_bytes: bool, record: Mapping[str, Any]) -> Item:
        columns = shard.columns
        uri, size = shard.audio(row, has_bytes, record)
        name = columns.text_of(record, columns.id) or f"{shard.name.removesuffix('.parquet')}-{row}"
        return Item(
            utterance_id=f"{self.dataset}/{name}",
            dataset=self.dataset,
            uri=uri,
            size=size,
            split=columns.text_of(record, columns.split) or shard.split,
            task=self.task,
            language=columns.text_of(record, columns.language) or self.language,
            speaker_id=columns.text_of(record, columns.speaker),
            text=columns.text_of(record, columns.text),
        )


def _read_rows(file: Any, columns: _Columns) -> Iterator[tuple[bool, Mapping[str, Any]]]:
    """Yield for each row whether its audio is in the file, and the values of the light columns."""
    for group in range(file.metadata.num_row_groups):
        present = _presence(file, group, columns)
        leaves = columns.light_leaves()
        if not leaves:
            yield from zip(present, repeat({}, file.metadata.row_group(group).num_rows), strict=False)
            continue
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=leaves):
            for record in batch.to_pylist():
                yield next(present), record


def _presence(file: Any, group: int, columns: _Columns) -> Iterator[bool]:
    """Yield for each row of a group whether it has audio; reads the audio only if the statistics do not state it."""
    if columns.bytes_leaf is None:
        yield from repeat(False)
    metadata = file.metadata.row_group(group)
    chunks = (metadata.column(i) for i in range(metadata.num_columns))
    statistics = next(chunk for chunk in chunks if chunk.path_in_schema == columns.bytes_leaf).statistics
    num_nulls = statistics.null_count if statistics is not None and statistics.has_null_count else None
    if num_nulls in (0, metadata.num_rows):
        yield from repeat(num_nulls == 0, metadata.num_rows)
        return
    for batch in file.iter_batches(AUDIO_BATCH_ROWS, row_groups=[group], columns=[columns.bytes_leaf]):
        column = batch.column(0)
        leaf = column.field(0) if columns.bytes_leaf != columns.audio else column
        yield from leaf.is_valid().to_pylist()


def _path_leaf(kind: Any, column: str) -> str | None:
    """Parquet path of the audio's path, if there is one."""
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        return f"{column}.path"
    return column if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def _bytes_leaf(schema: Any, column: str) -> str | None:
    try:
        return audio_leaf(schema, column)[0]
    except KeyError:
        return None
