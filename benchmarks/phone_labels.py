"""Phone labels of read speech by forced alignment, for `whisper_units.py`.

    uv run --with pocketsphinx python benchmarks/phone_labels.py MANIFEST.tsv phones.jsonl

MANIFEST.tsv has the columns `audio` (relative to its folder) and `text`. PocketSphinx aligns the text with the US
English model that its package brings. The labels are automatic: good to compare units with each other, not to quote
beside numbers on other labels. Clips with words that its dictionary lacks, or that cannot be aligned, are left out.
Each line of the output: `{"audio": ..., "phones": [[phone, first frame of 10 ms, frames], ...]}`.
"""

# pyright: reportMissingImports=false

import argparse
import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from unitlang.audio.reading import load
from unitlang.frames import SAMPLE_RATE


def main() -> None:
    """Align all clips and say how many were left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    from pocketsphinx import Decoder

    decoder: Any = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
    with options.manifest.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    aligned = 0
    with options.output.open("w") as output:
        for row in rows:
            phones = align(decoder, options.manifest.parent / row["audio"], row["text"])
            if phones:
                output.write(json.dumps({"audio": row["audio"], "phones": phones}) + "\n")
                aligned += 1
    print(f"{aligned} of {len(rows)} clips aligned")


def align(decoder: Any, path: Path, text: str) -> list[tuple[str, int, int]]:
    """Phones with their first frame of 10 ms and their frames; none where the text cannot be aligned."""
    words = re.sub(r"[^a-z' ]+", " ", text.lower()).split()
    if not words or any(decoder.lookup_word(word) is None for word in words):
        return []
    samples = (load(path) * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16).tobytes()
    try:
        decoder.set_align_text(" ".join(words))
        decode(decoder, samples)  # words first, then the phones in them
        if decoder.hyp() is None:
            return []
        decoder.set_alignment()
        decode(decoder, samples)
        return [(phone.name, phone.start, phone.duration) for word in decoder.get_alignment() for phone in word]
    except RuntimeError:
        return []


def decode(decoder: Any, samples: bytes) -> None:
    """Run the decoder over a whole utterance."""
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()


if __name__ == "__main__":
    main()
