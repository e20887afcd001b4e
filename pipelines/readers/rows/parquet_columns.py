"""Columns of Parquet files with audio: which there are, and their rows without the audio."""
# pyarrow has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import pyarrow as pa

from pipelines.errors import UserError
from pipelines.readers.parquet_audio import audio_leaf
from pipelines.readers.rows import fields
from pipelines.readers.rows.names import is_suspicious, spelled, time_columns
from pipelines.readers.rows.rights import Rights, get_rights, rights_columns

BATCH_ROWS = 1024
AUDIO_BATCH_ROWS = 16
"""Rows per read: of the light columns, and of the audio if it must be checked."""


@dataclass(frozen=True)
class Columns:
    """The columns of one file; those other than the audio's bytes are light."""

    audio: str
    bytes_leaf: str | None
    path_leaf: str | None
    id: str | None
    text: str | None
    speaker: str | None
    language: str | None
    split: str | None
    rights: tuple[str, ...]
    suspicious: tuple[str, ...]
    """Columns of times, and those that look like a time, a channel or a text."""

    def light_leaves(self) -> list[str]:
        """Return the Parquet paths of all columns but the audio's bytes."""
        named = (
            self.path_leaf,
            self.id,
            self.text,
            self.speaker,
            self.language,
            self.split,
            *self.rights,
            *self.suspicious,
        )
        return sorted({name for name in named if name})

    def facts(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns of a row that may be times, channels, texts or rights."""
        names = (*self.suspicious, *self.rights, *([self.text] if self.text else []))
        return {name: record[name] for name in names if name in record}

    def rights_of(self, record: Mapping[str, Any]) -> Rights:
        """Return what a row says of the rights on its recording."""
        return get_rights({name: record[name] for name in self.rights if name in record})

    def path_of(self, record: Mapping[str, Any]) -> str | None:
        """Return the audio's path in a row."""
        return fields.get_path(record, (self.audio,)) if self.path_leaf else None

    def text_of(self, record: Mapping[str, Any], column: str | None) -> str | None:
        """Return a column's value in a row as a string."""
        return fields.get_text(record, (column,)) if column else None


def find_columns(schema: Any, names: list[str], uri: str, *, audio: str, text: str | None, key: str | None) -> Columns:
    """Find the columns to read.

    Args:
        schema: Arrow schema of the file.
        names: its columns that the config does not ignore.
        uri: the file, for messages.
        audio: column of the audio.
        text: column of the text; None = one of the usual names.
        key: column of the id; None = `id` if there is one.

    Raises:
        UserError: a requested column is missing, or the audio column holds no audio.
    """
    for wanted in (audio, text, key):
        if wanted is not None and wanted not in names:
            raise UserError(f"{uri}: no column {wanted!r}; there are {', '.join(names)}")
    kind = schema.field(audio).type
    path, leaf = _path_leaf(kind, audio), _bytes_leaf(schema, audio)
    if leaf is None and path is None:
        raise UserError(f"{uri}: {no_audio(kind, audio)}")
    return Columns(
        audio=audio,
        bytes_leaf=leaf,
        path_leaf=path,
        id=key or fields.first_of(("id",), names),
        text=text or next(iter(spelled(fields.TEXT, names)), None),
        speaker=fields.first_of(fields.SPEAKER, names),
        language=fields.first_of(fields.LANGUAGE, names),
        split=fields.first_of(("split",), names),
        rights=tuple(name for name in chain(*rights_columns(tuple(names)).values()) if name != audio),
        suspicious=tuple(name for name in names if name != audio and _may_tell(name, schema.field(name).type)),
    )


def _may_tell(name: str, kind: Any) -> bool:
    """Return whether a column may be a time, a channel or a text by its name and type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return is_suspicious(name) and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    plain = pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return plain and (is_suspicious(name) or bool(time_columns([name])))


def is_decoded(kind: Any) -> bool:
    """Return whether an audio column holds decoded samples and no encoded audio."""
    return pa.types.is_struct(kind) and kind.get_field_index("array") >= 0 and kind.get_field_index("bytes") < 0


def no_audio(kind: Any, column: str) -> str:
    """Return the fault of an audio column whose type is not one of audio."""
    if is_decoded(kind):
        return (
            f"column {column!r} holds decoded samples, not encoded audio; write the dataset anew with "
            f"`dataset.cast_column({column!r}, datasets.Audio())`, which keeps the bytes of its files"
        )
    return f"column {column!r} of type {kind} holds neither bytes nor paths"


def read_rows(file: Any, columns: Columns) -> Iterator[tuple[bool, Mapping[str, Any]]]:
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


def _presence(file: Any, group: int, columns: Columns) -> Iterator[bool]:
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
