"""Synthesise the sample corpus: `python examples/make_sample.py` writes examples/sample/ from sample_texts.yaml.

It needs espeak-ng on the path (Debian: `apt-get install espeak-ng`) and the packages of the project.

The files hold no dates, so the same versions give the same bytes. The committed sample was made with espeak-ng 1.51
(Debian 12), scipy 1.17 and soundfile 0.14 (libsndfile 1.2.2, libFLAC 1.4.3). Other versions of espeak-ng give slightly
different speech; other versions of libFLAC write their name into each file and may compress it differently. The texts
and the number of files stay the same.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray
from scipy.signal import resample_poly

# Shapes: N = samples.

HERE = Path(__file__).parent
SAMPLE = HERE / "sample"
SAMPLE_RATE = 16_000
AMPLITUDE = "50"
"""Amplitude for espeak-ng, 0 to 200. Half its default of 100 saves one bit per sample."""

Voice = dict[str, Any]


def main() -> None:
    """Replace examples/sample/."""
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is needed (Debian: apt-get install espeak-ng)")
    texts = yaml.safe_load((HERE / "sample_texts.yaml").read_text("utf-8"))
    shutil.rmtree(SAMPLE, ignore_errors=True)
    for part in ("read", "tts"):
        make_readings(SAMPLE / part, texts[part], texts["voices"])
    make_dialogues(SAMPLE / "dialogues", texts["dialogues"], texts["voices"])
    files = sorted(SAMPLE.rglob("*.flac"))
    seconds = sum(soundfile.info(file).duration for file in files)
    num_bytes = sum(file.stat().st_size for file in SAMPLE.rglob("*.*"))
    print(f"{len(files)} audio files, {seconds:.1f} s of speech, {num_bytes / 1e6:.2f} MB in {SAMPLE}")


def make_readings(folder: Path, sentences: list[tuple[str, str]], voices: dict[str, Voice]) -> None:
    """Write one audio file per sentence, with its text in a file beside it."""
    for number, (speaker, text) in enumerate(sentences, start=1):
        audio = folder / f"{number:02d}-{speaker}.flac"
        speak(audio, text, voices[speaker])
        audio.with_suffix(".txt").write_text(text + "\n", "utf-8")


def make_dialogues(folder: Path, dialogues: list[dict[str, Any]], voices: dict[str, Voice]) -> None:
    """Write one audio file per spoken turn, and dialogues.json."""
    records: list[dict[str, Any]] = []
    for number, dialogue in enumerate(dialogues, start=1):
        name = f"dialogue-{number:02d}"
        turns: list[dict[str, str]] = []
        for position, text in enumerate(dialogue["turns"]):
            role = ("user", "assistant")[position % 2]
            turn = {"from": ("human", "gpt")[position % 2], "value": text}
            if speaker := dialogue[role]:
                turn |= {"audio": f"audio/{name}-{position}.flac", "speaker_id": speaker}
                speak(folder / turn["audio"], text, voices[speaker])
            turns.append(turn)
        records.append({"id": name, "language": "en", "conversations": turns})
    text = json.dumps(records, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "dialogues.json").write_text(text + "\n", "utf-8")


def speak(path: Path, text: str, voice: Voice) -> None:
    """Synthesise a text and write it as 16-bit FLAC, 16 kHz, mono.

    Raises:
        subprocess.CalledProcessError: espeak-ng failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        options = ["-v", voice["voice"], "-s", str(voice["speed"]), "-p", str(voice["pitch"])]
        subprocess.run(["espeak-ng", *options, "-a", AMPLITUDE, "-w", str(spoken), "--", text], check=True)
        speech_N, rate = soundfile.read(spoken, dtype="float64")
    speech_N = to_16_khz(np.asarray(speech_N, np.float64), rate)
    soundfile.write(path, speech_N, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)


def to_16_khz(speech_N: NDArray[np.float64], rate: int) -> NDArray[np.int16]:
    """Resample a waveform of N samples to 16 kHz and round it to 16 bits."""
    divisor = np.gcd(rate, SAMPLE_RATE)
    resampled_N = resample_poly(speech_N, SAMPLE_RATE // divisor, rate // divisor)
    return np.round(np.clip(resampled_N, -1.0, 1.0) * 32_767).astype(np.int16)


if __name__ == "__main__":
    main()
