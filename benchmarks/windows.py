"""Measure the share of units that change when long audio is processed in windows, by window and context.

    python benchmarks/windows.py [--seconds 150] [--layer 9] [--data FOLDER]

The model is a HuBERT-base with random weights. The input is one utterance of speech of FOLDER (default:
ECHOX_TEST_DATA), or else noise. The reference is its features without windows, and units are those of k-means on them.
"each alone" is the method of tools that cut the file beforehand: each piece is normalised by its own statistics and has
no context. Because the weights are random, the shares only rank the methods; attention of a trained model reaches less
far.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from extraction import CLUSTERS, FloatArray, speech
from rich.console import Console
from rich.table import Table
from transformers import HubertConfig as HuggingFaceConfig
from transformers import HubertModel

from unitlang.features import HubertConfig, HubertExtractor
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import Quantizer

WINDOWS = ((60.0, 5.0), (30.0, 5.0), (20.0, 5.0), (20.0, 2.0), (20.0, 0.0))
"""Windows and contexts in seconds; the first is the default."""
PIECES = (20.0, 5.0)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0, help="length of the utterance")
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--data", type=Path, default=os.environ.get("ECHOX_TEST_DATA"), help="folder of speech")
    options = parser.parse_args()
    torch.set_num_threads(1)
    waveform_N = np.concatenate(list(speech(options.seconds, options.data)))[: int(options.seconds * SAMPLE_RATE)]
    with TemporaryDirectory() as folder:
        torch.manual_seed(0)
        HubertModel(HuggingFaceConfig()).save_pretrained(folder)
        whole = HubertConfig(checkpoint=folder, layer=options.layer, max_window_seconds=max(options.seconds, 60.0))
        extractor = HubertExtractor(whole)
        reference_TD = extractor.extract(waveform_N)
        quantizer = Quantizer(extractor, fit_kmeans(reference_TD, CLUSTERS, seed=0, iterations=5), "benchmark")
        units_T = quantizer.assign(reference_TD)
        table = Table("window s", "context s", "error", "units changed")
        for (window, context), features_TD in ways(whole, extractor, waveform_N):
            error = np.linalg.norm(features_TD - reference_TD) / np.linalg.norm(reference_TD)
            changed = (quantizer.assign(features_TD) != units_T).mean()
            table.add_row(f"{window:.0f}", context, f"{error:.1e}", f"{changed:.2%}")
    Console().print(table)
    Console().print(f"{options.seconds:.0f} s, layer {options.layer}, k = {CLUSTERS}")


def ways(
    whole: HubertConfig, extractor: HubertExtractor, waveform_N: FloatArray
) -> Iterator[tuple[tuple[float, str], FloatArray]]:
    """Yield window in seconds, label of the context, and features of each method."""
    for window, context in WINDOWS:
        cut = HubertExtractor(whole.model_copy(update={"max_window_seconds": window, "context_seconds": context}))
        yield (window, f"{context:.0f}"), cut.extract(waveform_N)
    for seconds in PIECES:
        yield (seconds, "each alone"), pieces(extractor, waveform_N, seconds)


def pieces(extractor: HubertExtractor, waveform_N: FloatArray, seconds: float) -> FloatArray:
    """Features of pieces that are extracted separately; together they have as many frames as the whole."""
    samples, overlap = int(seconds * SAMPLE_RATE), HUBERT_GRID.view - HUBERT_GRID.hop
    starts = range(0, len(waveform_N) - overlap, samples)
    return np.concatenate([extractor.extract(waveform_N[start : start + samples + overlap]) for start in starts])


if __name__ == "__main__":
    main()
