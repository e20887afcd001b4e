"""CPU time of reading shuffled segments of one long file, as a work unit does: what a segment costs.

    python benchmarks/long_files.py [--minutes 120] [--segments 180] [--kinds FLAC OGG MP3]

Segments of 10 s lie anywhere in the file, and come in no order. Another revision is measured with
`PYTHONPATH=CHECKOUT python benchmarks/long_files.py`, with fewer segments: each may cost seconds.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import unitlang.audio.playback
from pipelines.sources.audio_files import checksum, sound_streams
from unitlang.audio.decoding import Decoder

RATE = 16_000
SECONDS = 10


class Counted(Decoder):
    """A decoder that counts decoders, and the seconds that they decode."""

    opened, seconds = 0, 0.0

    def __init__(self, source: Any) -> None:
        Counted.opened += 1
        super().__init__(source)

    def frames(self, start: int = 0) -> Iterator[Any]:
        """See `Decoder.frames`."""
        for frame in super().frames(start):
            Counted.seconds += frame.samples / self.rate
            yield frame


def write(path: Path, kind: str, minutes: int) -> None:
    """Write noise with pauses, minute by minute."""
    minute = np.random.default_rng(0).standard_normal(60 * RATE).astype(np.float32) / 20
    minute[::3] *= 0.1
    with soundfile.SoundFile(path, "w", RATE, 1, format=kind) as file:
        for _ in range(minutes):
            file.write(minute)


def rows(path: Path, minutes: int, segments: int) -> list[Any]:
    """Utterances in no order."""
    places = np.random.default_rng(1).permutation(minutes * 60 // SECONDS)[:segments]
    audio, digest = {"uri": str(path), "bytes": None}, checksum(str(path))
    return [
        {
            "utterance_id": str(place),
            "dataset": "d",
            "checksum": digest,
            "audio": audio,
            "offset_samples": int(place) * SECONDS * RATE,
            "num_samples": SECONDS * RATE,
        }
        for place in places
    ]


def main() -> None:
    """Print a row for each format."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--segments", type=int, default=180)
    parser.add_argument("--kinds", nargs="+", default=["FLAC", "OGG", "MP3"])
    options = parser.parse_args()
    unitlang.audio.playback.Decoder = Counted
    print("| file | segments | CPU ms a segment | opened | decoded s a segment |\n|---|---|---|---|---|")
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "long")
            write(path, kind, options.minutes)
            chosen = rows(path, options.minutes, options.segments)
            Counted.opened, Counted.seconds = 0, 0.0
            began = time.process_time()
            for _, blocks in sound_streams(chosen, {}):
                for _ in blocks:
                    pass
            cost = (time.process_time() - began) / len(chosen) * 1000
        decoded = Counted.seconds / len(chosen)
        name = f"{kind}, {options.minutes} min"
        print(f"| {name} | {len(chosen)} | {cost:.1f} | {Counted.opened} | {decoded:.1f} |", flush=True)


if __name__ == "__main__":
    main()
