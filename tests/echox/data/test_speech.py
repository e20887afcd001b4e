import io
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperFeatureExtractor

from echox.architectures import ARCHITECTURES
from echox.data.corpus import Corpus
from echox.data.features import SpeechFeatures
from echox.data.speech import SpokenBatch, spoken_reading
from echox.models.ragged import Ragged
from echox.stages import text_columns
from echox.text.prompts import Prompter
from echox.text.sentencepiece import SentencePieceTokenizer
from storage.tables import read_table
from tests.echox.corpora import flac

TINY = ARCHITECTURES["tiny"].encoder


def batch_of(features: SpeechFeatures, audios: list[bytes]) -> Ragged:
    waveforms = [features.decode(audio) for audio in audios]
    lengths_B = torch.tensor([len(waveform_N) for waveform_N in waveforms])
    return features.of_batch(Ragged(pad_sequence(waveforms, batch_first=True), lengths_B))


@pytest.mark.parametrize("full_window", [True, False])
@pytest.mark.parametrize("mels", [80, 128])
def test_log_mel_frames_of_a_batch_are_whispers_of_each_example(full_window: bool, mels: int) -> None:
    """Within 2e-5 where a unit is 40 dB: what a product of 32-bit floats in another order changes."""
    rng = np.random.default_rng(0)
    audios = [flac(rng, seconds) for seconds in (0.7, 0.3, 1.2347, 0.05)]
    features = SpeechFeatures(replace(TINY, full_window=full_window, mels=mels, max_frames=300))
    found = batch_of(features, audios)
    reference = WhisperFeatureExtractor(feature_size=mels)
    for audio, row_FM in zip(audios, found.rows(), strict=True):
        waveform_N, _ = soundfile.read(io.BytesIO(audio), dtype="float32")
        expected = reference(
            waveform_N,
            sampling_rate=16_000,
            padding="max_length" if full_window else False,
            max_length=300 * 160,
            truncation=True,
            return_tensors="pt",
        )["input_features"][0]
        torch.testing.assert_close(row_FM, expected.T, atol=2e-5, rtol=0)
    assert not found.values_BL[~found.mask].any()


def test_speech_that_is_longer_than_the_window_is_cut() -> None:
    features = SpeechFeatures(replace(TINY, max_frames=50))
    found = batch_of(features, [flac(np.random.default_rng(0), 0.7)])
    assert found.values_BL.shape == (1, 50, 80)


def test_waveforms_are_the_samples() -> None:
    audio = flac(np.random.default_rng(0), 0.3)
    features = SpeechFeatures(replace(TINY, kind="hubert"))
    waveform_N = batch_of(features, [audio]).values_BL[0]
    assert waveform_N.dtype == torch.float32
    assert np.array_equal(waveform_N.numpy(), soundfile.read(io.BytesIO(audio), dtype="float32")[0])


def test_speech_of_another_rate_is_refused() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(800), 8_000, format="FLAC", subtype="PCM_16")
    with pytest.raises(ValueError, match="8000 Hz"):
        SpeechFeatures(TINY).decode(file.getvalue())


@pytest.mark.parametrize("table", ["s2t", "echo"])
def test_a_batch_holds_its_rows(tones: str, table: str) -> None:
    corpus = Corpus.open(tones)
    prompter = Prompter(SentencePieceTokenizer.learn(corpus.texts(text_columns()), 300))
    reading = spoken_reading(table, prompter, SpeechFeatures(TINY), with_words=table == "echo")
    rows = read_table(corpus.store, corpus.paths(table)[0], [*reading.columns]).to_pylist()[:6]
    batch = cast(SpokenBatch, reading.collate([reading.example(row) for row in rows]))
    for index, row in enumerate(rows):
        inputs = batch.inputs
        assert inputs.speech.rows()[index].shape == (row["num_samples"] // 160, 80)
        assert inputs.prompt.rows()[index].tolist() == prompter.speech_request(row["prompt"])
        assert inputs.response.rows()[index].tolist() == prompter.answer(row["response"])
        assert prompter.tokenizer.decode(inputs.transcript.rows()[index].tolist()) == (row["transcript"] or "")
        assert batch.words.rows()[index].tolist() == row.get("words", [])
    assert batch.num_examples == 6


@pytest.mark.parametrize(("full_window", "frames"), [(False, 250), (True, 75)])
def test_the_length_counts_what_the_encoder_sees(tones: str, full_window: bool, frames: int) -> None:
    corpus = Corpus.open(tones)
    prompter = Prompter(SentencePieceTokenizer.learn(corpus.texts(text_columns()), 300))
    reading = spoken_reading(
        "s2t", prompter, SpeechFeatures(replace(TINY, full_window=full_window, max_frames=300)), with_words=False
    )
    row = read_table(corpus.store, corpus.paths("s2t")[0], [*reading.columns]).to_pylist()[0]
    example = reading.example(row | {"num_samples": 10 * 16_000})
    assert example.length == frames + len(example.prompt) + len(example.response)


@pytest.mark.parametrize("with_words", [True, False])
def test_the_length_counts_words_where_they_are_read(tones: str, with_words: bool) -> None:
    corpus = Corpus.open(tones)
    prompter = Prompter(SentencePieceTokenizer.learn(corpus.texts(text_columns()), 300))
    reading = spoken_reading("echo", prompter, SpeechFeatures(TINY), with_words=with_words)
    row = read_table(corpus.store, corpus.paths("echo")[0], [*reading.columns, "words"]).to_pylist()[0]
    example = reading.example({name: row[name] for name in reading.columns} | {"num_samples": 16_000})
    assert len(row["words"]) > 5
    assert example.length == 25 + len(example.prompt) + len(example.response) + with_words * len(row["words"])
