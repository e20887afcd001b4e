"""Measure the costs of a corpus besides the model: decoding by codec, preparing batches, and bytes of its tables.

    python benchmarks/corpus_costs.py [--seconds 120] [--data FOLDER]

FOLDER (default: ../shared/data if it exists) has audio_manifest.jsonl, audio/ and units/LibriSpeech_hubert500.jsonl.
Without it, decoding uses noise and the bytes of tables are left out. Decoding is of mono files at two rates to 16 kHz.
"prepare" is the work of a HuBERT worker in one thread between decoding and the model: it computes the statistics of the
utterance and cuts it into windows. All times are the best of three rounds. The tables are those of one work unit with
HuBERT's units of real utterances; the unit language is learnt from the same utterances, and encodes them as at most as
many words as runs.
"""

import argparse
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import torch
from extraction import FloatArray, utterances
from rich.console import Console
from rich.table import Table
from transformers import HubertConfig as HuggingFaceConfig
from transformers import HubertModel

from storage.schemas import SCHEMAS
from storage.tables import rows_to_parquet
from unitlang.audio.reading import load
from unitlang.features import HubertConfig, HubertExtractor
from unitlang.features.batches import batches
from unitlang.features.hubert import BATCH_SECONDS
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE
from unitlang.language.unit_language import UnitLanguageConfig, train_unit_language
from unitlang.units import to_runs

DATA = Path(__file__).parents[2] / "shared" / "data"
CODECS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
RATES = (16_000, 48_000)
BATCH_SAMPLES = round(BATCH_SECONDS["cuda"] * SAMPLE_RATE)
ROUNDS = 3
K = 500


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="audio to decode")
    parser.add_argument("--data", type=Path, default=DATA if DATA.is_dir() else None, help="folder of speech")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    console.print(decoding_table(list(utterances(options.seconds, options.data))))
    if options.data:
        console.print(bytes_table(options.data / "units" / "LibriSpeech_hubert500.jsonl"))


def decoding_table(waveforms: list[FloatArray]) -> Table:
    """Table of the speed of decoding by codec and rate, and of preparing batches."""
    table = Table("decode", "rate, Hz", "audio s / CPU s", "kbit/s")
    seconds = sum(map(len, waveforms)) / SAMPLE_RATE
    for codec in CODECS:
        for rate in RATES:
            files = [encoded(waveform_N, codec, rate) for waveform_N in waveforms]
            best = min(cpu_of_decoding(files) for _ in range(ROUNDS))
            kbits = sum(map(len, files)) * 8 / seconds / 1000
            table.add_row(codec, f"{rate:,}", f"{seconds / best:.0f}", f"{kbits:.0f}")
    table.add_row(*prepare_row(waveforms))
    return table


def prepare_row(waveforms: list[FloatArray]) -> list[str]:
    """Row with the speed of the thread that prepares batches; a model of one layer suffices for it."""
    with TemporaryDirectory() as folder:
        HubertModel(HuggingFaceConfig(num_hidden_layers=1)).save_pretrained(folder)
        extractor = HubertExtractor(HubertConfig(checkpoint=folder, layer=1))
    best = np.inf
    for _ in range(ROUNDS):
        start = time.process_time()
        for items in batches(extractor.cut((None, [waveform_N]) for waveform_N in waveforms), BATCH_SAMPLES):
            extractor.prepare([window for _, window in items])
        best = min(best, time.process_time() - start)
    return ["prepare", f"{SAMPLE_RATE:,}", f"{sum(map(len, waveforms)) / SAMPLE_RATE / best:.0f}", ""]


def encoded(waveform_N: FloatArray, codec: str, rate: int) -> bytes:
    """Encode a waveform of N samples at 16 kHz as a file; other rates are interpolated linearly."""
    if rate != SAMPLE_RATE:
        places = np.arange(len(waveform_N) * rate // SAMPLE_RATE) * SAMPLE_RATE / rate
        waveform_N = np.interp(places, np.arange(len(waveform_N)), waveform_N).astype(np.float32)
    file = io.BytesIO()
    container, subtype = CODECS[codec]
    soundfile.write(file, waveform_N, rate, format=container, subtype=subtype)
    return file.getvalue()


def cpu_of_decoding(files: list[bytes]) -> float:
    """CPU seconds of decoding the files to 16 kHz."""
    start = time.process_time()
    for file in files:
        load(file)
    return time.process_time() - start


def bytes_table(path: Path) -> Table:
    """Table of the bytes per hour of the corpus tables without audio."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    frames = sum(len(row["units"].split()) for row in rows)
    hours = HUBERT_GRID.seconds(frames) / 3600
    table = Table("table", "kB / h", "MB for 6,000 h", title=f"{len(rows)} utterances, {hours * 60:.1f} min")
    for name, columns in corpus_tables(rows):
        size = len(rows_to_parquet(name, pa.Table.from_pylist(columns, SCHEMAS[name])))
        table.add_row(name, f"{size / hours / 1e3:.1f}", f"{size / hours * 6000 / 1e6:,.0f}")
    return table


def corpus_tables(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield names and rows of the tables that `ingest`, `quantize` and `encode` write."""
    runs = [to_runs(np.array(row["units"].split(), np.uint16)) for row in rows]
    config = UnitLanguageConfig(vocab_size=8000)
    language = train_unit_language([each.units_R for each in runs], config, k=K, quantizer="benchmark")
    words = language.encode_batch([each.units_R for each in runs])
    ids = [{"utterance_id": f"librispeech/{row['id']}", "dataset": "librispeech"} for row in rows]
    yield "utterances", [name | ingested(row, each.num_frames) for name, row, each in zip(ids, rows, runs, strict=True)]
    yield (
        "units",
        [
            name | {"units": each.units_R, "durations": each.durations_R, "num_frames": each.num_frames}
            for name, each in zip(ids, runs, strict=True)
        ],
    )
    yield (
        "unit_language",
        [
            name | {"words": words_W, "num_runs": len(each), "num_frames": each.num_frames}
            for name, words_W, each in zip(ids, words, runs, strict=True)
        ],
    )


def ingested(row: dict[str, Any], num_frames: int) -> dict[str, Any]:
    """Columns of the table `utterances` besides id and dataset; digests are random."""
    return {
        "split": "train",
        "task": "asr",
        "audio": {"uri": f"/data/LibriSpeech/{row['speaker']}/{row['id']}.flac", "bytes": None},
        "offset_samples": 0,
        "num_samples": HUBERT_GRID.num_samples(num_frames),
        "sample_rate": SAMPLE_RATE,
        "language": "en",
        "speaker_id": row["speaker"],
        "text": row["text"],
        "checksum": os.urandom(32).hex(),
        "source_key": os.urandom(16),
    }


if __name__ == "__main__":
    main()
