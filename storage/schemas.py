"""The tables of a corpus: names, columns, types. Columns that are not nullable always have a value."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from storage.errors import StorageError


def _column(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_AUDIO = pa.struct([pa.field("uri", pa.string()), pa.field("bytes", pa.binary())])
_TEXT = pa.string()
_UNITS = pa.list_(pa.uint16())
_WORDS = pa.list_(pa.int32())
_KEY = pa.binary(16)

UTTERANCES = pa.schema(
    [
        _column("utterance_id", _TEXT),
        _column("dataset", _TEXT),
        pa.field("split", _TEXT),
        _column("task", _TEXT),
        pa.field("audio", _AUDIO),  # URI or encoded bytes of the audio; null for a written turn
        _column("offset_samples", pa.int64()),  # at 16 kHz
        _column("num_samples", pa.int64()),  # at 16 kHz
        pa.field("sample_rate", pa.int32()),  # of the source in Hz; null without audio
        pa.field("language", _TEXT),
        pa.field("speaker_id", _TEXT),
        pa.field("text", _TEXT),
        pa.field("dialogue_id", _TEXT),
        pa.field("turn", pa.int32()),
        pa.field("role", _TEXT),
        pa.field("checksum", _TEXT),  # SHA-256 of the encoded audio, hexadecimal
        _column("source_key", _KEY),  # digest of the source's entry
    ]
)
"""Utterances: one stretch of speech of one speaker per row."""

REJECTS = pa.schema(
    [
        pa.field("utterance_id", _TEXT),
        _column("dataset", _TEXT),
        _column("source", _TEXT),
        _column("step", _TEXT),
        _column("reason", _TEXT),
        _column("message", _TEXT),
        pa.field("source_key", _KEY),
    ]
)
"""Rejected entries and the reasons."""

UNITS = pa.schema(
    [
        _column("utterance_id", _TEXT),
        _column("dataset", _TEXT),
        _column("units", _UNITS),  # one per run
        _column("durations", _UNITS),  # frames of each run
        _column("num_frames", pa.int64()),  # sum of the durations
    ]
)
"""Units of utterances, as runs."""

UNIT_LANGUAGE = pa.schema(
    [
        _column("utterance_id", _TEXT),
        _column("dataset", _TEXT),
        _column("words", _WORDS),
        _column("num_runs", pa.int64()),
        _column("num_frames", pa.int64()),
    ]
)
"""Words of an utterance."""

S2T = pa.schema(
    [
        _column("example_id", _TEXT),
        _column("dataset", _TEXT),
        pa.field("split", _TEXT),
        _column("audio", pa.binary()),  # FLAC, 16 kHz, mono
        _column("num_samples", pa.int64()),  # at 16 kHz
        _column("prompt", _TEXT),
        pa.field("transcript", _TEXT),  # null if the speech has no transcript
        _column("response", _TEXT),
    ]
)
"""Training, stage one: speech to text."""

T2C = pa.schema(
    [
        _column("example_id", _TEXT),
        _column("dataset", _TEXT),
        pa.field("split", _TEXT),
        _column("text", _TEXT),
        _column("words", _WORDS),
        _column("num_frames", pa.int64()),
    ]
)
"""Training, stage two: text to words of the unit language."""

ECHO = S2T.append(_column("words", _WORDS))
"""Training, stage three: speech to text and words."""

TRAINING = ("s2t", "t2c", "echo")
"""The training tables, named after their stages."""

ECHO_LABELS = pa.schema(
    [
        _column("example_id", _TEXT),
        pa.field("answer", pa.list_(pa.int32())),  # ids of text up to the end of the turn; null: rejected
        _column("segments", pa.list_(pa.int32())),  # lengths in tokens, one after the other; not the end of the turn
        _column("words", pa.list_(_WORDS)),  # of each segment
    ]
)
"""Labels of stage echo: the rows of a file of the table `echo` in its order, with a model's answers and their words."""
LABELS = "echo_labels"
"""Table of the labels, which belong to a version and are kept beside it: see `storage.labels.kept`."""

SAMPLE_FEATURES = pa.schema([_column("features", pa.large_binary()), _column("dim", pa.int32())])
"""Blocks of frames x dims in half precision, of the sample that k-means learns from; not part of the corpus."""

OPTIONAL: dict[str, list[pa.Field]] = {
    "utterances": [
        pa.field("channel", pa.int32()),  # of the audio, from 0; null: all, mixed
        pa.field("licence", _TEXT),  # these four as the source states them; null: not known
        pa.field("attribution", _TEXT),
        pa.field("consent", _TEXT),
        pa.field("source_url", _TEXT),
    ],
}
"""Columns that a file has after the others if one of its rows has a value; readers take a missing one as null."""

SCHEMAS: dict[str, pa.Schema] = {
    "utterances": UTTERANCES,
    "rejects": REJECTS,
    "units": UNITS,
    "unit_language": UNIT_LANGUAGE,
    "s2t": S2T,
    "t2c": T2C,
    "echo": ECHO,
    LABELS: ECHO_LABELS,
    "sample_features": SAMPLE_FEATURES,
}

ROW_GROUP_ROWS = {"utterances": 256, "s2t": 256, "echo": 256, LABELS: 256, "sample_features": 8}
"""Rows per Parquet row group of tables with large rows: readers and writers hold one group at a time."""


def check(table: pa.Table, name: str) -> pa.Table:
    """Check a table against its schema and return it with exactly that schema, ready to be written.

    Args:
        table: all columns of the schema in its order, of its types, perhaps followed by some of `OPTIONAL`.
        name: a key of `SCHEMAS`.

    Raises:
        StorageError: unknown table, other columns or types, or a null in a column that is not nullable.
    """
    if name not in SCHEMAS:
        raise StorageError(f"no table {name!r}; there are {', '.join(SCHEMAS)}")
    schema, table = SCHEMAS[name], _without_empty(table, name)
    for field in OPTIONAL.get(name, ()):
        if field.name in table.column_names:
            schema = schema.append(field)
    if table.column_names != schema.names:
        raise StorageError(f"table {name}: columns {table.column_names}, wanted {schema.names}")
    for field, column in zip(schema, table.columns, strict=True):
        if column.type != field.type:
            raise StorageError(f"table {name}: column {field.name} is {column.type}, wanted {field.type}")
        if column.null_count and not field.nullable:
            raise StorageError(f"table {name}: {column.null_count} nulls in column {field.name}")
    return pa.Table.from_arrays(table.columns, schema=schema)


def table_of(rows: Sequence[Mapping[str, object]], name: str) -> pa.Table:
    """Return rows as a table with all columns of its schema and the optional ones.

    Args:
        rows: values by column; missing ones are null.
        name: a key of `SCHEMAS`.
    """
    return pa.Table.from_pylist(rows, pa.schema([*SCHEMAS[name], *OPTIONAL.get(name, ())]))


def _without_empty(table: pa.Table, name: str) -> pa.Table:
    """Drop the optional columns in which no row has a value, so that files without such values stay as they were."""
    names = {field.name for field in OPTIONAL.get(name, ())} & set(table.column_names)
    return table.drop_columns([column for column in names if table[column].null_count == table.num_rows])
