"""Encoders: Hugging Face's weights and outputs, and independence of padding."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import HubertConfig, HubertForCTC, WhisperConfig, WhisperForConditionalGeneration

from echox.errors import EchoxError
from echox.models.encoder import EncoderConfig, make_encoder
from echox.models.ragged import Ragged
from tests.echox.models.shapes import speech

CONFIG = EncoderConfig(layers=2, hidden_size=16, heads=2, intermediate_size=32, mels=8, max_frames=3000)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WhisperForConditionalGeneration]:
    """A small Whisper with a window of 30 s, and the folder where it is saved."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        num_mel_bins=8,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        vocab_size=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = WhisperForConditionalGeneration(config).eval()
    for parameter in model.model.encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    return folder, model


def test_full_windows_agree_with_transformers(whisper: tuple[Path, WhisperForConditionalGeneration]) -> None:
    folder, reference = whisper
    encoder = make_encoder(replace(CONFIG, checkpoint=str(folder)))
    encoder.load()
    mels_BFM = torch.randn(2, 3000, 8)
    with torch.no_grad():
        expected = reference.model.encoder(mels_BFM.transpose(1, 2)).last_hidden_state
    for full_window in (True, False):
        encoder.config = replace(encoder.config, full_window=full_window)
        found = encoder(Ragged(mels_BFM, torch.tensor([3000, 3000])))
        torch.testing.assert_close(found.values_BL, expected, atol=1e-5, rtol=1e-4)
        assert found.lengths_B.tolist() == [1500, 1500]


def test_a_checkpoint_of_another_size_is_named(whisper: tuple[Path, WhisperForConditionalGeneration]) -> None:
    encoder = make_encoder(replace(CONFIG, layers=3, checkpoint=str(whisper[0])))
    with pytest.raises(EchoxError, match=r"config\.json: encoder_layers is 2, not 3"):
        encoder.load()


def test_what_stands_behind_the_end_is_not_heard() -> None:
    torch.manual_seed(0)
    encoder = make_encoder(replace(CONFIG, full_window=False)).eval()
    batch = speech(41, 20, 7)
    together = encoder(batch)
    assert together.lengths_B.tolist() == [21, 10, 4]
    for row, frames in zip(batch.rows(), together.rows(), strict=True):
        alone = encoder(Ragged(row[None], torch.tensor([len(row)])))
        torch.testing.assert_close(alone.values_BL[0], frames, atol=1e-5, rtol=1e-4)


def test_frozen_means_evaluation_mode_and_no_gradients() -> None:
    for trainable in (False, True):
        encoder = make_encoder(replace(CONFIG, trainable=trainable))
        encoder.freeze()
        encoder.train()
        assert encoder.encoder.training == trainable
        assert encoder(speech(20)).values_BL.requires_grad == trainable
        positions = encoder.get_parameter("encoder.embed_positions.weight")
        assert not positions.requires_grad


def test_hubert_hears_each_waveform_alone_and_loads_what_was_fine_tuned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = HubertForCTC(
        HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=9)
    ).eval()
    reference.save_pretrained(tmp_path)
    config = EncoderConfig(
        kind="hubert", layers=1, hidden_size=16, heads=2, intermediate_size=32, checkpoint=str(tmp_path)
    )
    encoder = make_encoder(config)
    encoder.load()
    waveforms_BN = torch.randn(2, 1600)
    found = encoder(Ragged(waveforms_BN, torch.tensor([1600, 900])))
    with torch.no_grad():
        expected = reference.hubert(waveforms_BN[1:, :900]).last_hidden_state[0]
    torch.testing.assert_close(found.rows()[1], expected)
    assert found.lengths_B.tolist() == [4, 2]


def test_speech_longer_than_the_window_is_refused() -> None:
    with pytest.raises(EchoxError, match="speech of 22 frames: max_frames is 20"):
        make_encoder(replace(CONFIG, max_frames=20))(speech(22))


@pytest.mark.parametrize("kind", ["whisper", "hubert", "wav2vec2"])
def test_weights_in_bf16_take_speech_in_float32(kind: Literal["whisper", "hubert", "wav2vec2"]) -> None:
    torch.manual_seed(0)
    encoder = make_encoder(replace(CONFIG, kind=kind, full_window=False)).eval()
    heard = speech(41, 20) if kind == "whisper" else Ragged(torch.randn(2, 4000), torch.tensor([4000, 1700]))
    expected = encoder(heard)
    found = encoder.bfloat16()(heard)
    assert found.values_BL.dtype == torch.bfloat16
    assert found.lengths_B.equal(expected.lengths_B)
    torch.testing.assert_close(found.flat().float(), expected.flat(), atol=0.1, rtol=0.1)
