"""The registry of extractors, and an extractor of another frame rate."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

import unitlang
from tests.unitlang.features import half_rate
from tests.unitlang.features.half_rate import CONTEXT_FRAMES, WINDOW_FRAMES, HalfRateConfig
from tests.unitlang.features.hubert_models import noise
from unitlang.features import EXTRACTORS, FeaturesConfig, HubertConfig, MfccConfig
from unitlang.frames import HUBERT_GRID, FrameGrid


def test_every_kind_is_found() -> None:
    assert list(EXTRACTORS) == sorted(EXTRACTORS)
    assert (EXTRACTORS["hubert"], EXTRACTORS["mfcc"]) == (HubertConfig, MfccConfig)
    adapter = TypeAdapter(FeaturesConfig)
    assert adapter.validate_python({"kind": "mfcc"}) == MfccConfig()
    with pytest.raises(ValidationError, match="'hubert', 'mfcc'"):
        adapter.validate_python({"kind": "half_rate"})


def test_finding_them_imports_no_torch() -> None:
    program = "import sys, unitlang.features; assert not {'torch', 'torchaudio', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_grids_are_those_of_the_configs(tmp_path: Path) -> None:
    assert MfccConfig().grid() == MfccConfig().load().grid == HUBERT_GRID
    assert HubertConfig(checkpoint=str(tmp_path / "absent"), layer=1).grid() == HUBERT_GRID


def test_missing_files(tmp_path: Path) -> None:
    def missing(**values: object) -> list[tuple[str, str]]:
        return list(HubertConfig.missing_files(values, lambda path: str(tmp_path / path)))

    (tmp_path / "model.pt").touch()
    assert missing(checkpoint="model.pt") == []
    ((field, message),) = missing(checkpoint="absent.pt", layer="ninth")
    assert field == "checkpoint"
    assert message.startswith(f"no checkpoint at {tmp_path}/absent.pt: give a file (.pt, .pth, .bin, .safetensors), ")
    assert missing(checkpoint="HUBERT_BASE", download=True) == []
    assert [field for field, _ in missing(checkpoint="HUBERT_BASE")] == ["checkpoint"]
    for nonsense in ({}, {"checkpoint": 5}, {"checkpoint": ""}):
        assert missing(**nonsense) == []
    assert list(MfccConfig.missing_files({"checkpoint": "absent.pt"}, str)) == []


def test_settled() -> None:
    def absolute(path: str) -> str:
        return f"/models/{path}"

    config = HubertConfig(checkpoint="model.pt", layer=9)
    assert config.settled(absolute) == (config.model_copy(update={"checkpoint": "/models/model.pt"}), None)
    settled, reason = config.model_copy(update={"precision": "auto"}).settled(absolute)
    assert settled.precision in ("fp32", "bf16")
    assert (reason or "").startswith(f"precision: auto is {settled.precision}: ")
    bundle = HubertConfig(checkpoint="HUBERT_BASE", layer=9, download=True)
    assert bundle.settled(absolute) == (bundle, None)
    assert MfccConfig().settled(absolute) == (MfccConfig(), None)


@pytest.mark.parametrize("samples", [0, 719, 720, 1359, 1360, 16_000, 640 * WINDOW_FRAMES + 79])
def test_the_25_hz_extractor_keeps_its_grid(samples: int) -> None:
    extractor = HalfRateConfig().load()
    assert extractor.extract(noise(samples)).shape == (extractor.grid.num_frames(samples), 39)


@pytest.mark.parametrize("more", [0, 1, 2, 3, WINDOW_FRAMES - 2 * CONTEXT_FRAMES, 2_500])
def test_25_hz_windows_have_no_borders(more: int) -> None:
    extractor = HalfRateConfig().load()
    waveform_N = noise(extractor.grid.num_samples(WINDOW_FRAMES + more) + 633)
    mfcc_TD = MfccConfig().load().extract(waveform_N)
    expected_TD = mfcc_TD[: len(mfcc_TD) // 2 * 2].reshape(-1, 2, 39).mean(1)
    cut = [waveform_N[start : start + 30_011] for start in range(0, len(waveform_N), 30_011)]
    found_TD = np.concatenate(list(extractor.stream(cut)))
    assert len(found_TD) == WINDOW_FRAMES + more
    np.testing.assert_allclose(found_TD, expected_TD, rtol=1e-4, atol=2e-4)
    np.testing.assert_array_equal(extractor.extract(waveform_N), found_TD)


PROGRAM = """
import json
import numpy as np
from pydantic import TypeAdapter
import unitlang
from unitlang.features import EXTRACTORS, FeaturesConfig
from unitlang.language.compression import CompressionStats
from unitlang.language.unit_language import UnitLanguageConfig, train_unit_language
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import Quantizer
from unitlang.units import to_runs

config = TypeAdapter(FeaturesConfig).validate_python({"kind": "half_rate"})
waveform_N = np.random.default_rng(0).normal(size=16_000 * 40).astype(np.float32)
extractor = config.load()
made = Quantizer(extractor, fit_kmeans(extractor.extract(waveform_N), 10, seed=0, iterations=3), "toy")
quantizer = Quantizer.load(made.dump())
runs = to_runs(np.concatenate(list(quantizer.quantize([waveform_N]))))
language = train_unit_language([runs.units_R] * 2, UnitLanguageConfig(vocab_size=20), k=10, quantizer="toy")
words_W = language.encode(runs.units_R, quantizer="toy")
stats = CompressionStats.of(runs.num_frames, len(runs), words_W, language.word_lengths, quantizer.grid)
print(json.dumps({
    "file": unitlang.__file__, "kinds": list(EXTRACTORS), "grid": json.loads(made.dump()["card.json"])["grid"],
    "frames": runs.num_frames, "rate": stats.frames_per_second, "seconds": stats.seconds,
}))
"""


def test_one_file_is_an_extractor(tmp_path: Path) -> None:
    shutil.copytree(Path(unitlang.__file__).parent, tmp_path / "unitlang", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(half_rate.__file__, tmp_path / "unitlang/features")
    ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    assert found["file"] == str(tmp_path / "unitlang/__init__.py")
    assert found["kinds"] == sorted(["half_rate", *EXTRACTORS])
    assert found["grid"] == {"hop": 640, "view": 720}
    assert found["frames"] == FrameGrid(640, 720).num_frames(16_000 * 40) == 999
    assert (found["rate"], found["seconds"]) == (25.0, 39.96)
