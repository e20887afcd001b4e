import pickle

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.errors import UserError
from pipelines.readers import READERS, Reader, SourceConfig
from pipelines.readers.base import read_source

KINDS = {  # those that configs of users name; later readers need not be listed
    "conversation",
    "fairseq_tsv",
    "folder",
    "hf_parquet",
    "lhotse",
    "librispeech",
    "ljspeech",
    "manifest",
    "mls",
    "vctk",
}


def test_every_module_with_a_reader_is_found() -> None:
    assert set(READERS) >= KINDS
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


def test_what_a_source_says_of_itself_tells_which_it_is() -> None:
    for kind, reader in READERS.items():
        source = reader.model_validate({"path": "/absent", "dataset": "d"})
        with pytest.raises(UserError) as error:
            list(read_source(source, 3))
        assert str(error.value).startswith("sources[3] (d): /absent"), kind
