"""Counts against the public figures, each from its formula."""

import pytest

from echox.architectures import ARCHITECTURES, WORDS
from echox.costs.counts import Count
from echox.costs.parameters import main, stage_counts, table

VOCABULARY, ROWS = 128_256, WORDS + 2


def whisper_encoder(layers: int, hidden: int, mels: int) -> int:
    """Whisper: two convolutions of three taps, 1500 positions, layers without a bias in the keys, a norm."""
    convolutions = 3 * hidden * mels + hidden + 3 * hidden * hidden + hidden
    layer = 4 * hidden * hidden + 3 * hidden + 8 * hidden * hidden + 5 * hidden + 4 * hidden
    return convolutions + 1500 * hidden + layers * layer + 2 * hidden


def llama(layers: int, hidden: int, inner: int, key_values: int) -> int:
    """Llama's layers and its last norm, without embeddings."""
    layer = 2 * hidden * hidden + 2 * hidden * key_values + 3 * hidden * inner + 2 * hidden
    return layers * layer + hidden


def adapter(hidden: int) -> int:
    """Projection, one layer with feed-forward 2 * hidden, norm, CTC head, look-back with its norm."""
    attention = 4 * hidden * hidden + 4 * hidden
    layer = attention + 4 * hidden * hidden + 3 * hidden + 4 * hidden
    return 2 * 1280 * hidden + hidden + layer + 2 * hidden + VOCABULARY * hidden + attention + 2 * hidden


def t2c_medium(text_hidden_size: int) -> int:
    """Word table, biased projection, eight layers of 768, untied head over text and words."""
    projection = text_hidden_size * 768 + 768
    return ROWS * text_hidden_size + projection + llama(8, 768, 2048, 768) + 768 * (VOCABULARY + ROWS)


@pytest.fixture(scope="module")
def counts() -> dict[str, dict[str, dict[str, Count]]]:
    return {name: stage_counts(ARCHITECTURES[name]) for name in ("echox-3b", "echox-8b")}


def test_the_encoder_is_whisper_large_v3s(counts: dict[str, dict[str, dict[str, Count]]]) -> None:
    assert counts["echox-3b"]["s2t"]["encoder"] == Count(whisper_encoder(32, 1280, 128), 0)
    assert whisper_encoder(32, 1280, 128) == pytest.approx(637e6, rel=1e-3)


def test_the_language_models_are_llama_3(counts: dict[str, dict[str, dict[str, Count]]]) -> None:
    assert llama(28, 3072, 8192, 1024) + VOCABULARY * 3072 == 3_212_749_824, "as published, embeddings tied"
    assert llama(32, 4096, 14336, 1024) + 2 * VOCABULARY * 4096 == 8_030_261_248, "as published"
    assert counts["echox-3b"]["s2t"]["llm"] == Count(3_212_749_824, 0)
    assert counts["echox-8b"]["s2t"]["llm"] == Count(8_030_261_248, 0)


@pytest.mark.parametrize(
    ("name", "layers", "hidden", "inner"), [("echox-3b", 28, 3072, 8192), ("echox-8b", 32, 4096, 14336)]
)
def test_what_each_stage_trains(
    counts: dict[str, dict[str, dict[str, Count]]], name: str, layers: int, hidden: int, inner: int
) -> None:
    found = counts[name]
    lora = layers * 64 * (2 * hidden + 2 * (hidden + 1024))
    assert found["s2t"]["llm lora"] == Count(lora, lora)
    assert found["s2t"]["adapter"] == Count(adapter(hidden), adapter(hidden))
    assert found["s2t"]["all"].trained == lora + adapter(hidden)
    assert found["t2c"]["decoder"] == Count(t2c_medium(hidden), t2c_medium(hidden))
    assert found["t2c"]["text embedding"] == Count(VOCABULARY * hidden, 0)
    denoising = 2 * hidden * inner + inner + hidden
    assert found["echo"]["denoising"] == Count(denoising, denoising)
    assert found["echo"]["all"].trained == denoising + t2c_medium(hidden) + lora
    assert found["echo"]["all"].total == found["s2t"]["all"].total + denoising + 2 * t2c_medium(hidden)


def test_the_command_prints_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny"]) == 0
    printed = capsys.readouterr().out
    assert printed == table(stage_counts(ARCHITECTURES["tiny"])) + "\n"
    assert [line.split()[0] for line in printed.splitlines() if " all " in line] == ["s2t", "t2c", "echo"]


def test_the_command_refuses_an_unknown_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["echox-9b"]) == 2
    assert "neither a file nor one of" in capsys.readouterr().err
