import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.build.statistics import from_version, overall
from pipelines.errors import UserError
from pipelines.export.formats import hf
from tests.pipelines.export.corpora import Corpus, exported, flac_digest

pytestmark = pytest.mark.slow

datasets = pytest.importorskip("datasets")
croissants = pytest.importorskip("mlcroissant")


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(corpus, tmp_path_factory.mktemp("exports") / "hf", "hf")


def test_datasets_loads_what_the_corpus_holds(folder: Path, truth: dict[str, Any], tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert {*loaded} == {"train", "test_clean"}
    read: dict[str, Any] = {}
    for split in loaded.values():
        assert split.features["audio"] == datasets.Audio(sampling_rate=16_000)
        for row in split.cast_column("audio", datasets.Audio(decode=False)):
            read[row["id"]] = {**row, "audio": flac_digest(row["audio"]["bytes"])}
    assert read == truth
    assert {row["split"] for row in loaded["test_clean"].remove_columns("audio")} == {"test-clean"}


def test_datasets_streams_the_shards(folder: Path, truth: dict[str, Any]) -> None:
    streamed = datasets.load_dataset(str(folder), split="train", streaming=True)
    names = [row["id"] for row in streamed.cast_column("audio", datasets.Audio(decode=False))]
    assert names == [name for name, facts in truth.items() if facts["split"] != "test-clean"]


def test_mlcroissant_reads_what_the_corpus_holds(folder: Path, truth: dict[str, Any]) -> None:
    described = croissants.Dataset(folder / "croissant.json")
    assert described.metadata.ctx.issues.errors == set()
    read: dict[str, Any] = {}
    for split in ("train", "test_clean"):
        for record in described.records(split):
            row = {name.partition("/")[2]: _plain(value) for name, value in record.items()}
            read[row["id"]] = {**row, "audio": flac_digest(row["audio"])}
    assert read == truth


def _plain(value: Any) -> Any:
    """A value of a record as that of a table; mlcroissant gives texts as bytes, and FLAC too."""
    if isinstance(value, bytes) and not value.startswith(b"fLaC"):
        return value.decode()
    if isinstance(value, list):
        return [int(number) for number in value]
    return int(value) if hasattr(value, "item") else value


def test_the_card_states_the_facts_of_the_version(folder: Path, corpus: Corpus, truth: dict[str, Any]) -> None:
    _, front, text = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["language"] == ["en", "fr"]
    assert [part["split"] for part in values["configs"][0]["data_files"]] == ["test_clean", "train"]
    assert values["size_categories"] == ["n<1K"]
    total = overall(from_version(corpus.version.statistics))
    tables = {tuple(re.split(r" *\| *", line.strip("| "))) for line in text.splitlines() if line.startswith("|")}
    french = sum(facts["num_samples"] for facts in truth.values() if facts["language"] == "fr")
    assert ("fr", f"{french / 16_000 / 3600:.3f}") in tables
    assert ("missing", "1") in tables
    assert (values["license"], values["license_name"]) == (["cc-by-4.0", "other", "unknown"], "House rules|1")
    licensed = sum(facts["num_samples"] for facts in truth.values() if facts["licence"] == "CC BY 4.0")
    assert ("CC BY 4.0", f"{licensed / 16_000 / 3600:.3f}") in tables
    assert "Attribution:\n\n- Marie\n" in text
    described = json.loads((folder / "croissant.json").read_text("utf-8"))
    assert described["license"] == ["CC BY 4.0", "House rules|1"]
    assert {facts["consent"] for facts in truth.values() if facts["attribution"]} == {"true"}
    assert {facts["source_url"] for facts in truth.values()} == {None, "https://a.example/1?token=***"}
    counts = total.compression
    ratios = (counts.total_ratio, counts.dedup_ratio, counts.unit_language_ratio)
    assert (
        "all",
        f"{total.hours:.3f}",
        *(f"{ratio:.2f}" for ratio in ratios),
        f"{counts.bits_per_second:.1f}",
    ) in tables
    assert ("quantizer", f"`{corpus.version.artifact('quantizer').fingerprint}`") in tables
    assert "left out here: 1." in text
    assert str(corpus.sources) not in text + (folder / "croissant.json").read_text("utf-8")


def test_row_groups_are_bounded(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "GROUP_ROWS", 4)
    monkeypatch.setattr(hf, "GROUP_BYTES", 10**5)
    folder = exported(corpus, tmp_path / "hf", "hf", hours=1.0)
    (path,) = (folder / "data").glob("train-*")
    file = pq.ParquetFile(path).metadata
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    assert max(group.num_rows for group in groups) == 4
    assert min(group.num_rows for group in groups[:-1]) < 4
    sizes = {group.column(n).path_in_schema: group.column(n).compression for group in groups for n in range(5)}
    assert sizes["audio.bytes"] == "UNCOMPRESSED"


def test_without_mlcroissant_nothing_is_begun(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.export.croissant.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package mlcroissant: pip install 'echox\[export\]'"):
        exported(corpus, tmp_path / "hf", "hf")
    assert not (tmp_path / "hf").exists()


def test_all_facts_have_a_column(truth: dict[str, Any]) -> None:
    assert {*hf.COLUMNS} == {*next(iter(truth.values()))}
    assert json.loads(hf.schema().metadata[b"huggingface"])["info"]["features"].keys() == hf.COLUMNS.keys()
