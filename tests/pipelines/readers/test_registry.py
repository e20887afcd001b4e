import pickle

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.readers import READERS, Reader, SourceConfig

KINDS = {"conversation", "fairseq_tsv", "folder", "hf_parquet", "librispeech", "manifest", "mls"}


def test_every_module_with_a_reader_is_found() -> None:
    assert set(READERS) == KINDS
    for kind, reader in READERS.items():
        assert reader.__module__ == f"pipelines.readers.{kind}"


def test_kind_chooses_the_reader() -> None:
    adapter: TypeAdapter[Reader] = TypeAdapter(SourceConfig)
    for kind, reader in READERS.items():
        source = adapter.validate_python({"kind": kind, "path": "/data", "dataset": "d"})
        assert type(source) is reader
        assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301
    with pytest.raises(ValidationError, match="'folder'"):
        adapter.validate_python({"kind": "floder", "path": "/data", "dataset": "d"})
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "folder", "path": "/data", "dataset": "a/b"})


def test_every_field_is_explained() -> None:
    for reader in READERS.values():
        assert all(field.description for field in reader.model_fields.values())
