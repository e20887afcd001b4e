"""Tables are checked against their schema before they are written."""

import pyarrow as pa
import pytest

from storage.errors import StorageError
from storage.schemas import SCHEMAS, check

REJECT = {"dataset": "d", "source": "s", "step": "ingest", "reason": "missing", "message": "m"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_empty_tables_pass(name: str) -> None:
    assert check(SCHEMAS[name].empty_table(), name).schema == SCHEMAS[name]


def test_check_gives_the_schema_exactly() -> None:
    schema = pa.schema([field.with_nullable(True) for field in SCHEMAS["rejects"]], metadata={"a": "b"})
    checked = check(pa.Table.from_pylist([REJECT], schema), "rejects")
    assert checked.schema.equals(SCHEMAS["rejects"], check_metadata=True)
    assert checked.to_pylist() == [{"utterance_id": None, **REJECT, "source_key": None}]


def test_null_where_none_may_be() -> None:
    table = pa.Table.from_pylist([REJECT | {"reason": None}], SCHEMAS["rejects"])
    with pytest.raises(StorageError, match="1 nulls in column reason"):
        check(table, "rejects")


def test_other_columns_types_and_names() -> None:
    table = SCHEMAS["units"].empty_table()
    with pytest.raises(StorageError, match="columns"):
        check(table.drop_columns(["dataset"]), "units")
    with pytest.raises(StorageError, match=r"column num_frames is int32, wanted int64"):
        check(table.set_column(4, "num_frames", pa.array([], pa.int32())), "units")
    with pytest.raises(StorageError, match="no table 'unit'"):
        check(table, "unit")
