import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.build.commit import Built
from pipelines.build.encode_audio import Encoder
from storage.errors import StorageError
from storage.tables import read_table
from storage.versions import Version, resolve
from unitlang.errors import AudioError

RATE = 16_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, speech: Path, run_build: Callable[..., Built]) -> Version:
    """Version 1 with another unit language than version 2."""
    config = {
        "store": str(tmp_path_factory.mktemp("encode") / "store"),
        "sources": [{"kind": "folder", "path": str(speech), "dataset": "clips"}],
        "quantizer": {"k": 20, "iterations": 3},
        "unit_language": {"vocab_size": 25},
    }
    run_build(config)
    return run_build({**config, "unit_language": {"vocab_size": 60}}).version


@pytest.fixture(scope="module")
def encoder(corpus: Version) -> Encoder:
    return Encoder.of(corpus.store)


def test_audio_of_the_corpus_gives_its_units_and_words(encoder: Encoder, corpus: Version, speech: Path) -> None:
    store, version = resolve(corpus.uri)
    tables = {name: read_table(store, version.files(name)[0].path).to_pylist() for name in ("units", "unit_language")}
    for units, words in list(zip(tables["units"], tables["unit_language"], strict=True))[:3]:
        path = str(speech / units["utterance_id"].removeprefix("clips/"))
        found = encoder(path)
        assert found["audio"] == path
        assert {name: found[name] for name in ("units", "durations", "num_frames")} == {
            name: units[name] for name in ("units", "durations", "num_frames")
        }
        assert found["word_ids"] == words["words"]
        assert [int(unit) for word in found["words"] for unit in word.split("_")] == units["units"]
        assert sum(found["durations"]) == found["num_frames"]


def test_a_version_has_its_own_unit_language(encoder: Encoder, corpus: Version, speech: Path) -> None:
    path = str(speech / "clip000.wav")
    first, second = Encoder.of(f"{corpus.store}@1")(path), encoder(path)
    assert first["units"] == second["units"]
    assert len(first["words"]) > len(second["words"])


def test_other_formats_and_rates_are_speech_too(encoder: Encoder, speech: Path, tmp_path: Path) -> None:
    wave_N, _ = soundfile.read(speech / "clip000.wav", dtype="int16")
    soundfile.write(tmp_path / "same.flac", wave_N, RATE)
    soundfile.write(tmp_path / "stereo.wav", np.stack([wave_N, wave_N], 1), RATE)
    soundfile.write(tmp_path / "slow.wav", wave_N[::2], RATE // 2)
    expected = encoder(str(speech / "clip000.wav"))
    for name in ("same.flac", "stereo.wav"):
        assert encoder(str(tmp_path / name))["units"] == expected["units"]
    assert abs(encoder(str(tmp_path / "slow.wav"))["num_frames"] - expected["num_frames"]) <= 1


def test_the_name_of_the_file_does_not_matter(encoder: Encoder, speech: Path, tmp_path: Path) -> None:
    copy = shutil.copy(speech / "clip001.wav", tmp_path / "no extension")
    assert encoder(str(copy))["word_ids"] == encoder(str(speech / "clip001.wav"))["word_ids"]


def wav(samples: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(samples, np.int16), RATE, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "missing"), (b"", "empty_file"), (b"text " * 100, "not_audio"), (wav(399), "too_short")],
)
def test_what_is_no_speech_has_a_reason(encoder: Encoder, tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "x.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError) as error:
        encoder(str(path))
    assert (error.value.reason, error.value.source) == (reason, str(path))


def test_one_frame_is_enough(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(wav(400))
    found = encoder(str(tmp_path / "x.wav"))
    assert (found["num_frames"], found["durations"], len(found["words"])) == (1, [1], 1)


def test_no_such_corpus_and_no_such_version(corpus: Version, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        Encoder.of(str(tmp_path / "nowhere"))
    with pytest.raises(StorageError, match="no version 7; it has 1 to 2"):
        Encoder.of(f"{corpus.store}@7")
