"""The corpus of `miniature.py`: questions in many voices and answers in one, spoken by espeak-ng, built by `echox`."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miniature_facts import NEW_PHRASINGS, PHRASINGS, Fact
from miniature_voice import Espeak, Voice
from rich.console import Console

from pipelines.build.build import build
from pipelines.config.build import check_config

ACCENTS = ("en-us", "en")
VARIANTS = (
    *("m1", "m2", "m3", "m5", "m6", "m8", "f1", "f2", "f3", "klatt", "klatt2", "klatt3", "klatt4", "klatt6"),
    *("adam", "Alex", "Alicia", "Andrea", "Andy", "anika", "Annie", "antonio", "aunty", "belinda", "benjamin", "boris"),
    *("david", "Denis", "ed", "edward", "edward2", "Gene", "Gene2", "grandma", "grandpa", "gustave", "Hugo", "iven"),
    *("iven2", "iven3", "iven4", "Jacky", "john", "kaukovalta", "linda", "marcelo", "Marco", "Mario", "max", "Michael"),
    *("michel", "miguel", "Mike", "Mr", "norbert", "pedro", "rob", "robert", "sandro", "Storm", "travis", "Tweaky"),
)
"""espeak-ng's voices of the questions in training."""
VALID_VARIANTS = ("Diogo", "Henrique", "m4", "f5", "caleb", "shelby")
"""Voices of the questions in validation."""
NEW_VARIANTS = ("m7", "f4", "Lee", "pablo", "paul", "steph", "quincy", "victor")
"""Voices of the questions in the test."""
SPLITS = {"train": VARIANTS, "valid": VALID_VARIANTS, "test_known": NEW_VARIANTS, "test_new": NEW_VARIANTS}
ANSWERING = "en-us"
"""The voice of the answers."""
PITCHES = (40, 50, 60)
SPEEDS = (145, 160, 175)
"""Its speeds in training, in words per minute; the test has a speed between them."""
CLUSTERS = 100
WORDS = 700


@dataclass(frozen=True)
class Sizes:
    """The number of dialogues.

    Attributes:
        train: questions in training.
        valid: questions of the validation.
        test: questions of the test in known phrasings, and as many in new ones.
    """

    train: int
    valid: int
    test: int


def make_corpus(folder: Path, facts: Sequence[Fact], sizes: Sizes, seed: int, console: Console) -> str:
    """Synthesise the dialogues and build a corpus of them; return STORE@VERSION."""
    dialogues = folder / "dialogues" / "dialogues.json"
    dialogues.parent.mkdir(parents=True)
    records = list(speak_all(dialogues.parent, facts, sizes, random.Random(seed)))
    dialogues.write_text(json.dumps(records))
    values = {
        "store": "store",
        "sources": [{"kind": "conversation", "dataset": "facts", "path": str(dialogues)}],
        "features": {"kind": "mfcc"},
        "quantizer": {"k": CLUSTERS, "sample_hours": 0.3},
        "unit_language": {"vocab_size": WORDS},
        "max_reject_ratio": 0.0,
        "run": {"workers": 1, "ray_above_seconds": 1e9},
    }
    return build(check_config(values, "miniature", folder), console).version.uri


def speak_all(folder: Path, facts: Sequence[Fact], sizes: Sizes, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Return all dialogues, in the format of the conversation reader."""
    counts = {"train": sizes.train, "valid": sizes.valid, "test_known": sizes.test, "test_new": sizes.test}
    espeak = Espeak()
    for split, count in counts.items():
        phrasings = NEW_PHRASINGS if split == "test_new" else PHRASINGS
        for number in range(count):
            fact = facts[number % len(facts)]
            question = speak(folder, espeak, fact.question(draw.choice(phrasings)), asking(SPLITS[split], draw))
            answer = speak(folder, espeak, fact.answer, answering(split, draw))
            turns = [{"from": "user", **question}, {"from": "assistant", **answer}]
            yield {"id": f"{split}-{number:05}", "split": split, "conversations": turns}


def asking(variants: Sequence[str], draw: random.Random) -> Voice:
    """Return a voice for a question, a little different each time."""
    name = f"{draw.choice(ACCENTS)}+{draw.choice(variants)}"
    return Voice(name, draw.randint(40, 60), draw.randint(165, 195))


def answering(split: str, draw: random.Random) -> Voice:
    """Return the voice of the answers, at one of its speeds."""
    if split.startswith("test"):
        return Voice(ANSWERING, 45, 152)
    return Voice(ANSWERING, draw.choice(PITCHES), draw.choice(SPEEDS))


def speak(folder: Path, espeak: Espeak, text: str, voice: Voice) -> dict[str, str]:
    """Return text and audio of a turn; audio that exists already is used again."""
    spelt = "".join(letter if letter.isalnum() else "_" for letter in text)
    path = folder / f"{voice.name}-{voice.pitch}-{voice.speed}-{spelt}.flac"
    if not path.exists():
        espeak.speak(path, text, voice)
    return {"value": text, "audio": path.name, "speaker_id": voice.name}
