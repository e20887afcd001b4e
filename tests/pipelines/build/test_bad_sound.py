"""Sound that cannot be used costs its own utterance and nothing else: neither the fit nor another row."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipelines.build.commit import Built
from pipelines.errors import UserError
from storage.store import Store
from storage.tables import read_table
from tests.speech import MakeSpeech

NOISE = np.random.default_rng(0).normal(0, 0.1, 32_000)


def encode(samples: NDArray[np.floating], **kind: str) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, 16_000, **kind)
    return file.getvalue()


def flipped_float() -> bytes:
    """One sample of a float WAV with its highest bit of the exponent flipped."""
    samples = NOISE.astype(np.float32)
    samples[9_000] = 3e38
    return encode(samples, format="WAV", subtype="FLOAT")


def endless_flac() -> bytes:
    """A FLAC of 60 kB whose header states 2^36 - 1 samples: 50 days."""
    data = bytearray(encode(NOISE, format="FLAC"))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    return bytes(data)


def damaged_ogg() -> bytes:
    data = bytearray(encode(NOISE, format="OGG", subtype="VORBIS"))
    data[len(data) - 500] ^= 1
    return bytes(data)


CANCELLED = np.stack([NOISE, -NOISE], axis=1)
BAD = {
    "flipped.wav": (flipped_float(), "not_finite"),
    "endless.flac": (endless_flac(), "truncated"),
    "cancelled.wav": (encode(CANCELLED, format="WAV"), "antiphase"),
    "cancelled.opus": (encode(CANCELLED, format="OGG", subtype="OPUS"), "antiphase"),
    "damaged.ogg": (damaged_ogg(), "corrupt"),
}


def test_a_sample_of_bad_sound_is_told(
    config: dict[str, Any], run_build: Callable[..., Built], make_speech: MakeSpeech, tmp_path: Path
) -> None:
    folder = make_speech(tmp_path / "mixed", 1)
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(BAD["cancelled.wav"][0] + bytes([number, 0]))
    config["sources"][0]["path"] = str(folder)
    config |= {"quantizer": {"k": 200}, "unit_language": {"vocab_size": 400}}
    with pytest.raises(UserError, match=r"the sample has 99 .*; 3 of the chosen utterances cannot"):
        run_build(config)


@pytest.mark.parametrize("name", [*BAD, "all"])
def test_bad_sound_is_a_reject_and_the_rest_is_built(
    name: str, config: dict[str, Any], run_build: Callable[..., Built], make_speech: MakeSpeech, tmp_path: Path
) -> None:
    folder = make_speech(tmp_path / "mixed", 6)
    bad = BAD if name == "all" else {name: BAD[name]}
    for file, (data, _) in bad.items():
        (folder / file).write_bytes(data)
    config["sources"][0]["path"] = str(folder)
    version = run_build({**config, "max_reject_ratio": 0.5}).version
    store = Store.open(config["store"])
    rejects = [row for file in version.files("rejects") for row in read_table(store, file.path).to_pylist()]
    units = [row for file in version.files("units") for row in read_table(store, file.path).to_pylist()]
    assert {Path(row["source"]).name: row["reason"] for row in rejects} == {file: why for file, (_, why) in bad.items()}
    assert len(units) == 6
