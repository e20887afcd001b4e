"""Croissant metadata (MLCommons) of an export as Parquet files."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from pipelines.errors import UserError
from pipelines.export import licences
from pipelines.export.base import Export
from pipelines.export.card import split_files, title

TYPES = {"string": "TEXT", "int32": "INT32", "int64": "INT64", "uint16": "UINT16"}
"""Names of Arrow's types in `mlcroissant.DataType`."""


def check() -> None:
    """Raise a UserError if `mlcroissant` is missing."""
    if find_spec("mlcroissant") is None:
        raise UserError(
            "--format hf needs the package mlcroissant: pip install 'echox[export]', or in a checkout: "
            "uv sync --extra export"
        )


def metadata(export: Export, columns: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """Return the JSON-LD: a set of Parquet files and a record set for each split.

    Args:
        export: the finished shards.
        columns: columns of the files and their types.
    """
    import mlcroissant as mlc

    splits = split_files(export)
    made = mlc.Metadata(
        name=title(export),
        description="Speech with its units and words of a unit language, exported from a corpus version of EchoX.",
        version=f"{export.version.number}.0.0",
        date_published=datetime.fromisoformat(export.version.created),
        license=[*licences.stated(export.plan)] or None,
        in_language=sorted(name for name in export.plan.languages if name) or None,
        distribution=[_files(split) for split in splits],
        record_sets=[_records(split, columns) for split in splits],
    )
    return made.to_json()


def _files(split: str) -> Any:
    from mlcroissant import FileSet

    return FileSet(
        id=f"files-{split}",
        name=f"files-{split}",
        description=f"Parquet files of the split {split}.",
        encoding_formats=["application/x-parquet"],
        includes=[f"data/{split}-*.parquet"],
    )


def _records(split: str, columns: Mapping[str, pa.DataType]) -> Any:
    from mlcroissant import RecordSet

    fields = list(_fields(split, columns))
    return RecordSet(id=split, name=split, description=f"Utterances of the split {split}.", fields=fields)


def _fields(split: str, columns: Mapping[str, pa.DataType]) -> Iterator[Any]:
    import mlcroissant as mlc

    for name, kind in columns.items():
        audio, repeated = pa.types.is_struct(kind), pa.types.is_list(kind)
        inner = kind.value_type if repeated else kind
        yield mlc.Field(
            id=f"{split}/{name}",
            name=f"{split}/{name}",
            data_types=[getattr(mlc.DataType, "AUDIO_OBJECT" if audio else TYPES[str(inner)])],
            repeated=repeated or None,
            source=mlc.Source(
                file_set=f"files-{split}",
                extract=mlc.Extract(column=name),
                transforms=[mlc.Transform(json_path="bytes")] if audio else [],
            ),
        )
