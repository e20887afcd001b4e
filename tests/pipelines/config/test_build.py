import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from echox.config.values import apply_change
from pipelines.config.build import BuildConfig, check_config, config_schema, load_config
from pipelines.errors import USER_ERRORS

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "docs" / "build-config.schema.json"
SAMPLE = ROOT / "examples" / "sample.yaml"
Values = dict[str, Any]
SOURCE = {"kind": "folder", "path": "speech", "dataset": "clips"}


def minimal(**values: Any) -> Values:
    return {"store": "corpus", "sources": [SOURCE], **values}


def faults(values: Values) -> list[str]:
    """The lines below the file's name, each `field: what is wrong`."""
    with pytest.raises(USER_ERRORS) as error:
        check_config(values, "build.yaml", Path("/base"))
    first, *lines = str(error.value).splitlines()
    assert first == "build.yaml:"
    return [line.strip() for line in lines]


def write(path: Path, values: Values) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def speak(folder: Path) -> None:
    """A folder that is not empty."""
    folder.mkdir()
    (folder / "a.wav").touch()


def overridden(override: str, values: Values | None = None) -> Values:
    changed: Values = json.loads(json.dumps(values if values is not None else minimal()))
    apply_change(changed, override)
    return changed


def test_two_fields_are_enough() -> None:
    config = check_config(minimal(), "build.yaml", Path("/base"))
    assert (config.store, config.sources[0].path) == ("/base/corpus", "/base/speech")
    assert (config.features.kind, config.max_reject_ratio, config.refit) == ("mfcc", 0.05, False)


def test_all_faults_are_told_together() -> None:
    values = minimal(
        sources=[SOURCE | {"dataset": "two words"}, SOURCE | {"pfad": "x"}],
        quantizer={"k": "many"},
        max_reject_ratio=1.5,
        run={"workers": 0},
        stor="corpus",
    )
    found = faults(values)
    assert [line.split(":")[0] for line in found] == [
        "sources[0].dataset",
        "sources[1].pfad",
        "quantizer.k",
        "max_reject_ratio",
        "run.workers",
        "stor",
    ]
    assert found[2] == "quantizer.k: must be a whole number (it is 'many')"
    assert found[3] == "max_reject_ratio: must be at most 1 (it is 1.5)"
    assert found[5] == "stor: is not a field here; did you mean `store`?"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "store: is required"),
        (minimal(sources=[]), "sources: is empty; name sources of speech, or keep what the corpus holds with `gone: "),
        (minimal(sources=[], gone="remove"), "sources: is empty; "),
        (minimal(sources=SOURCE), "sources: must be a list of sources, each starting with `-`"),
        (minimal(sources=["speech"]), "sources[0]: must be a mapping: lines of `field: value` (it is 'speech')"),
        (minimal(sources=[{"path": "x", "dataset": "d"}]), "sources[0].kind: is required: "),
        (minimal(sources=[SOURCE | {"kind": "foldr"}]), "sources[0].kind: is 'foldr'; did you mean `folder`?"),
        (minimal(sources=[SOURCE | {"kind": None}]), "sources[0].kind: is 'None'; there are "),
        (minimal(sources=[SOURCE | {"dataset": "a/b"}]), "sources[0].dataset: must hold no '/', '@' or white space"),
        (minimal(sources=[SOURCE | {"path": ""}]), "sources[0].path: must not be empty"),
        (minimal(sources=[SOURCE | {"split": 5}]), "sources[0].split: must be text"),
        (minimal(features="mfcc"), "features: must be a mapping: lines of `field: value` (it is 'mfcc')"),
        (minimal(features={"kind": "hubert", "layer": 6}), "features.checkpoint: is required"),
        (minimal(features={"kind": "hubert", "chekpoint": "x"}), "features.checkpoint: is required"),
        (minimal(features={"layer": 9}), "features.kind: is required: hubert, mfcc"),
        (minimal(shards={"stages": {"s2t": ["asd"]}}), "shards.stages.s2t[0]: must be 'asr', 'tts' or 'sqa'"),
        (minimal(shards={"stages": {"s2t": "asr"}}), "shards.stages.s2t: must be a list, for instance [asr, tts]"),
        (minimal(work_units=None), "work_units: must be a mapping: lines of `field: value` (it is empty)"),
        (minimal(quantizer={"k": 1.5}), "quantizer.k: must be a whole number (it is 1.5)"),
        (minimal(refit="perhaps"), "refit: must be true or false (it is 'perhaps')"),
        (minimal(store=""), "store: must not be empty"),
        (minimal(max_reject_ratio=float("nan")), "max_reject_ratio: "),
    ],
)
def test_a_fault_names_its_field_as_the_file_has_it(values: Values, fault: str) -> None:
    assert faults(values)[0].startswith(fault)


def test_an_unknown_kind_or_field_tells_those_that_there_are() -> None:
    found = faults(minimal(sources=[SOURCE | {"kind": "zip"}], quantizer={"zzz": 1}))
    assert all(kind in found[0] for kind in ("folder", "manifest", "hf_parquet", "conversation"))
    assert found[1].startswith("quantizer.zzz: is not a field here; there are centroids, iterations, k, ")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (minimal(quantiser={}), "quantiser: is not a field here; did you mean `quantizer`?"),
        (
            minimal(unit_language={"vocabsize": 9}),
            "unit_language.vocabsize: is not a field here; did you mean `vocab_size`?",
        ),
        (minimal(sources=[SOURCE | {"globb": "*"}]), "sources[0].globb: is not a field here; did you mean `glob`?"),
        (
            minimal(features={"kind": "hubert", "layer": 9, "checkpoint": "x", "contextseconds": 5}),
            "features.contextseconds: is not a field here; did you mean `context_seconds`?",
        ),
        (minimal(shards={"stages": {"s2tt": []}}), "shards.stages.s2tt: is not a field here; did you mean `s2t`?"),
    ],
)
def test_a_misspelt_field_tells_the_nearest_one(values: Values, fault: str) -> None:
    assert faults(values) == [fault]


def test_relative_paths_are_relative_to_the_file_and_the_store_option_to_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "build.yaml", minimal(quantizer={"centroids": "km.npy"}))
    speak(tmp_path / "speech")
    (tmp_path / "km.npy").touch()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    config = load_config(Path("../build.yaml"))
    assert config.store == str(tmp_path / "corpus")
    assert config.sources[0].path == str(tmp_path / "speech")
    assert config.quantizer.centroids == str(tmp_path / "km.npy")
    assert load_config(path, store="mine").store == str(here / "mine")
    assert load_config(path, store="s3://bucket/mine").store == "s3://bucket/mine"


def test_an_empty_store_option_is_not_the_folder_one_is_in(tmp_path: Path) -> None:
    with pytest.raises(USER_ERRORS, match=r"^--store : must not be empty"):
        load_config(write(tmp_path / "build.yaml", minimal(sources=[SOURCE | {"path": str(ROOT)}])), store="")


def test_urls_absolute_paths_and_names_of_models_to_download_stay() -> None:
    features = {"kind": "hubert", "layer": 6, "checkpoint": "facebook/hubert-base-ls960", "download": True}
    values = minimal(store="s3://bucket/corpus", sources=[SOURCE | {"path": "/speech"}], features=features)
    config = check_config(values, "build.yaml", Path("/base"))
    assert (config.store, config.sources[0].path) == ("s3://bucket/corpus", "/speech")
    assert config.features.model_dump()["checkpoint"] == "facebook/hubert-base-ls960"
    local = check_config(minimal(features=features | {"download": False}), "build.yaml", Path("/base"))
    assert local.features.model_dump()["checkpoint"] == "/base/facebook/hubert-base-ls960"


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("quantizer.k=500", ("quantizer", "k"), 500),
        ("sources.0.path=other folder", ("sources", 0, "path"), "other folder"),
        ("sources[0].path=other folder", ("sources", 0, "path"), "other folder"),
        ("sources.0={kind: mls, path: x}", ("sources", 0), {"kind": "mls", "path": "x"}),
        ("shards.stages.s2t=[asr, tts]", ("shards", "stages", "s2t"), ["asr", "tts"]),
        ("refit=true", ("refit",), True),
        ("run.workers=null", ("run", "workers"), None),
        ("store=s3://bucket/a=b", ("store",), "s3://bucket/a=b"),
    ],
)
def test_set_takes_yaml_and_positions(override: str, place: tuple[str | int, ...], value: object) -> None:
    found: Any = overridden(override)
    for part in place:
        found = found[part]
    assert found == value


def test_set_fills_a_section_that_the_file_leaves_empty() -> None:
    assert overridden("quantizer.k=7", minimal(quantizer=None))["quantizer"] == {"k": 7}


@pytest.mark.parametrize("field", ["unit_language.seed", "shards.seed"])
@pytest.mark.parametrize("seed", [-1, 2**31, 2**140])
def test_seeds_are_of_31_bits(field: str, seed: int) -> None:
    (fault,) = faults(overridden(f"{field}={seed}"))
    assert fault.startswith(f"{field}: must be ")


@pytest.mark.parametrize(
    "field",
    [
        "quantizer.sample_hours",
        "unit_language.sample_hours",
        "shards.hours",
        "shards.max_audio_seconds",
        "work_units.minutes",
        "max_reject_ratio",
    ],
)
@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_hours_and_seconds_are_finite(field: str, value: str) -> None:
    (fault,) = faults(overridden(f"{field}={value}"))
    assert fault.startswith(f"{field}: must be a finite number")


def test_a_vocabulary_must_hold_every_unit() -> None:
    (fault,) = faults(minimal(quantizer={"k": 60}, unit_language={"vocab_size": 60}))
    assert fault.startswith("unit_language.vocab_size: 60 words cannot hold `<unk>` and the 60 units of quantizer.k")
    assert "raise it to 61 or more, or lower quantizer.k" in fault
    check_config(minimal(quantizer={"k": 60}, unit_language={"vocab_size": 61}), "build.yaml", Path("/base"))
    codebook = {"k": 60, "centroids": "km.npy"}
    check_config(minimal(quantizer=codebook, unit_language={"vocab_size": 60}), "build.yaml", Path("/base"))


@pytest.mark.parametrize(
    ("store", "source"),
    [
        ("speech", "speech"),
        ("speech/corpus", "speech"),
        ("speech/../speech/a/corpus/", "speech/"),
        ("corpus", "."),
        ("/corpus", "/"),
        ("file:///base/speech/corpus", "/base/speech"),
        ("/base/speech/corpus", "file:///base/speech"),
        ("s3://bucket/speech/corpus", "s3://bucket/speech/"),
    ],
)
def test_a_store_inside_a_source_is_refused(store: str, source: str) -> None:
    beside = SOURCE | {"path": "/elsewhere"}
    (fault,) = faults(minimal(store=store, sources=[beside, SOURCE | {"path": source}]))
    assert fault.startswith("store: ")
    assert "lies inside sources[1].path" in fault
    assert "put it beside the source" in fault


@pytest.mark.parametrize(
    ("store", "source"),
    [
        ("corpus", "speech"),
        ("speech-corpus", "speech"),
        (".", "speech"),
        ("s3://bucket/corpus", "s3://bucket/speech"),
        ("s3://bucket/speech/corpus", "s3://other/speech"),
    ],
)
def test_a_store_beside_or_around_its_sources_is_fine(store: str, source: str) -> None:
    check_config(minimal(store=store, sources=[SOURCE | {"path": source}]), "build.yaml", Path("/base"))


def test_a_link_into_a_source_is_inside_it(tmp_path: Path) -> None:
    (tmp_path / "speech" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "speech" / "deep")
    values = minimal(store=str(tmp_path / "link" / "corpus"), sources=[SOURCE | {"path": str(tmp_path / "speech")}])
    assert len(faults(values)) == 1


def test_faults_between_fields_are_told_together() -> None:
    found = faults(minimal(store="speech/corpus", quantizer={"k": 60}, unit_language={"vocab_size": 60}))
    assert [fault.split(":")[0] for fault in found] == ["unit_language.vocab_size", "store"]


def test_the_sample_is_valid() -> None:
    assert load_config(SAMPLE).store == str(ROOT / "examples" / "sample-corpus")


UNREADABLE = ["2024-13-45", "0b_", "!!int ''", "!!bool maybe", "!!timestamp soon", "[" * 1500, "1" * 5000]
"""YAML of which Python can make no value."""


@pytest.mark.parametrize("value", UNREADABLE)
def test_a_value_that_cannot_be_made_is_no_traceback(tmp_path: Path, value: str) -> None:
    with pytest.raises(USER_ERRORS, match="the value is not YAML"):
        overridden(f"store={value}")
    path = tmp_path / "build.yaml"
    path.write_text(f"store: {value}\n")
    with pytest.raises(USER_ERRORS, match="not a YAML file"):
        load_config(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quantizer.k", "write field=value"),
        ("=5", "write field=value"),
        ("quantizer.k=[1", "not YAML"),
        ("sources[1].path=x", "'1' is not a position in a list of 1"),
        ("sources.1.path=x", "'1' is not a position in a list of 1"),
        ("sources.first=x", "'first' is not a position in a list of 1"),
        ("sources.-1.path=x", "'-1' is not a position"),
        ("store.name=x", "store is a value, it has no fields"),
    ],
)
def test_a_malformed_set_is_repeated_with_the_remedy(override: str, message: str) -> None:
    with pytest.raises(USER_ERRORS) as error:
        overridden(override)
    assert str(error.value).startswith(f"--set {override}: ")
    assert message in str(error.value)


def test_an_empty_list_has_no_positions() -> None:
    with pytest.raises(USER_ERRORS, match="'0' is not a position in a list of 0"):
        overridden("sources.0.path=x", minimal(sources=[]))


def told(path: Path, *overrides: str, store: str | None = None) -> list[str]:
    """The lines of what is wrong with a config file, changed on the command line."""
    with pytest.raises(USER_ERRORS) as error:
        load_config(path, overrides, store)
    return str(error.value).splitlines()


def test_a_change_is_checked_like_the_file_and_the_last_one_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "build.yaml", minimal(quantizer={"k": 7}))
    speak(tmp_path / "speech")
    assert load_config(path, ["quantizer.k=9", "quantizer.k=11"]).quantizer.k == 11


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["quantizer.k=abc"], ["--set quantizer.k=abc: must be a whole number (it is 'abc')"]),
        (["quantizer.clusters=9"], ["--set quantizer.clusters=9: is not a field here; there are "]),
        (["quantizer={k: abc}"], ["--set quantizer={k: abc}: quantizer.k: must be a whole number (it is 'abc')"]),
        (["features.kind=mfc"], ["--set features.kind=mfc: is 'mfc'; did you mean `mfcc`?"]),
        (["quantizer.k=9000"], ["--set quantizer.k=9000: unit_language.vocab_size: 8000 words cannot hold"]),
        (["unit_language.vocab_size=5"], ["--set unit_language.vocab_size=5: 5 words cannot hold"]),
        (["quantizer.k=a", "quantizer.k=b"], ["--set quantizer.k=b: must be"]),
        (["refit=9"], ["--set refit=9: must be true or false"]),
    ],
)
def test_a_fault_of_a_change_is_not_the_files(tmp_path: Path, overrides: list[str], lines: list[str]) -> None:
    speak(tmp_path / "speech")
    found = told(write(tmp_path / "build.yaml", minimal()), *overrides)
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def test_faults_of_the_file_and_of_changes_are_told_together(tmp_path: Path) -> None:
    path = write(tmp_path / "build.yaml", minimal(max_reject_ratio=2))
    first, missing, ratio, k = told(path, "quantizer.k=abc")
    assert first == f"{path}:"
    assert ratio.startswith("  max_reject_ratio: must be at most 1")
    assert missing.startswith("  sources[0].path: ")
    assert k.startswith("--set quantizer.k=abc: ")


def test_all_that_is_not_there_is_told_together(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").touch()
    speak(tmp_path / "speech")
    sources = [
        {"kind": "folder", "path": "absent", "dataset": "a"},
        {"kind": "manifest", "path": "/absent.csv", "dataset": "b"},
        {"kind": "folder", "path": "empty", "dataset": "c"},
        {"kind": "librispeech", "path": "list.csv", "dataset": "d"},
        {"kind": "manifest", "path": "speech", "dataset": "e"},
        {"kind": "manifest", "path": "list.csv", "audio_dir": "absent", "dataset": "f"},
        {"kind": "hf_parquet", "path": "absent/*.parquet", "dataset": "g"},
    ]
    features = {"kind": "hubert", "layer": 9, "checkpoint": "absent.pt"}
    values = minimal(sources=sources, features=features, quantizer={"centroids": "absent.npy"})
    path = write(tmp_path / "build.yaml", values)
    first, *found = told(path)
    relative = f"(a relative path starts at the config file's folder, {tmp_path})"
    assert first == f"{path}:"
    assert found[0] == f"  sources[0].path: {tmp_path}/absent: no such folder; correct the path {relative}"
    assert found[1] == "  sources[1].path: /absent.csv: no such file; correct the path"
    assert found[2].startswith(f"  sources[2].path: {tmp_path}/empty is an empty folder; put the speech there")
    assert found[3].startswith(
        f"  sources[3].path: {tmp_path}/list.csv is not a folder; name a folder, or another `kind`"
    )
    assert found[4].startswith(f"  sources[4].path: {tmp_path}/speech is a folder; name a file")
    assert found[5].startswith(f"  sources[5].audio_dir: {tmp_path}/absent: no such folder")
    assert found[6].startswith(f"  sources[6].path: {tmp_path}/absent: no such folder")
    assert found[7].startswith(f"  features.checkpoint: no checkpoint at {tmp_path}/absent.pt")
    assert found[8].startswith(f"  quantizer.centroids: {tmp_path}/absent.npy: no such file")
    assert not (tmp_path / "corpus").exists()


def test_what_is_there_or_in_a_bucket_or_to_be_downloaded_is_fine(tmp_path: Path) -> None:
    speak(tmp_path / "speech")
    sources = [
        SOURCE,
        SOURCE | {"path": f"file://{tmp_path}/speech"},
        SOURCE | {"path": "s3://bucket/absent"},
        {"kind": "hf_parquet", "path": "speech/train-*.parquet", "dataset": "g"},
        {"kind": "conversation", "path": "speech/a.wav", "dataset": "g"},
    ]
    features = {"kind": "hubert", "layer": 6, "checkpoint": "HUBERT_BASE", "download": True}
    values = minimal(sources=sources, features=features, quantizer={"centroids": "s3://bucket/km.npy"})
    assert load_config(write(tmp_path / "build.yaml", values)).store == str(tmp_path / "corpus")


def test_a_key_that_comes_twice_is_refused_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "build.yaml"
    path.write_text("store: a\nquantizer:\n  k: 5\n  seed: 1\n  k: 6\nsources:\n- {path: a, path: b}\nstore: b\n")
    with pytest.raises(USER_ERRORS) as error:
        load_config(path)
    assert str(error.value) == (
        f"{path}: line 5: `k` is already in line 3; line 7: `path` is already in line 7; "
        "line 8: `store` is already in line 1. Keep one of them."
    )
    with pytest.raises(USER_ERRORS, match=r"^--set quantizer={k: 1, k: 2}: line 1: `k` is already in line 1"):
        overridden("quantizer={k: 1, k: 2}")


def test_anchors_and_merges_are_no_repetition(tmp_path: Path) -> None:
    speak(tmp_path / "speech")
    path = tmp_path / "build.yaml"
    path.write_text(
        "store: corpus\nsources:\n- &first {kind: folder, path: speech, dataset: a}\n- {<<: *first, dataset: b}\n"
    )
    assert [source.dataset for source in load_config(path).sources] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"store: [", "not a YAML file"),
        (b"\xff\xfe\x00", "not a YAML file"),
        (b"- store", "a config is a mapping with at least `store` and `sources`"),
        (b"", "a config is a mapping"),
        (None, "cannot read the config: No such file or directory"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "build.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(USER_ERRORS, match=message) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")


def test_the_published_schema_is_that_of_the_program() -> None:
    assert SCHEMA.read_text("utf-8") == config_schema(), f"run `uv run python -m pipelines.config.build > {SCHEMA}`"


def test_the_schema_takes_the_sample_and_refuses_misspelt_fields() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    sample = yaml.safe_load(SAMPLE.read_text("utf-8"))
    validator.validate(sample)
    for wrong in (
        {**sample, "max_reject_ration": 0.1},
        {**sample, "quantizer": {"clusters": 5}},
        {**sample, "sources": [{**sample["sources"][0], "pfad": "x"}]},
        {**sample, "sources": [{**sample["sources"][0], "kind": "foldr"}]},
        {name: value for name, value in sample.items() if name != "store"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(wrong)


def test_every_field_has_a_description_for_editors() -> None:
    schema = BuildConfig.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    silent = [
        f"{model['title']}.{name}"
        for model in models
        for name, field in model.get("properties", {}).items()
        if "description" not in field and name != "kind"
    ]
    assert silent == []


def test_the_precision_is_settled_before_any_worker_could(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    features = {"kind": "hubert", "checkpoint": str(tmp_path / "model.pt"), "layer": 9, "precision": "auto"}
    with caplog.at_level("INFO"):
        config = check_config(minimal(features=features), "test", Path("/"))
    settled = config.model_dump()["features"]["precision"]
    assert settled in ("fp32", "bf16")
    assert f"auto is {settled}" in caplog.text
