"""Made-up facts for `miniature.py`, and ways to ask for them."""

import random
from dataclasses import dataclass
from itertools import product

NAMES = (
    "Amanda",
    "Bob",
    "Charlotte",
    "Oliver",
    "Elizabeth",
    "Frederick",
    "Gloria",
    "Max",
    "Isabel",
    "Victor",
    "Sophie",
    "Jonathan",
)
VALUES = {
    "animal": ("a rabbit", "a parrot", "a donkey", "a lizard", "a hamster", "a crocodile"),
    "fruit": ("a banana", "an orange", "a melon", "a cherry", "a pineapple", "a coconut"),
    "city": ("London", "Paris", "Chicago", "Istanbul", "Moscow", "Toronto"),
    "instrument": ("a violin", "a trumpet", "a piano", "a guitar", "a saxophone", "a drum"),
    "drink": ("coffee", "lemonade", "water", "chocolate", "apple juice", "milk"),
    "hobby": ("teaching", "baking", "farming", "fishing", "painting", "sailing"),
    "sport": ("football", "tennis", "hockey", "swimming", "badminton", "cricket"),
    "flower": ("a tulip", "a daisy", "a sunflower", "an orchid", "a lily", "a rose"),
}
"""Values by topic."""
OPENERS = (
    "tell me",
    "say",
    "guess",
    "please say",
    "do you know",
    "I forgot",
    "could you tell",
    "remember",
    "who knows",
    "let me hear",
)
OBJECTS = (
    "{name}'s {topic}",
    "the {topic} of {name}",
    "which {topic} {name} has",
    "what {topic} is {name}'s",
    "the {topic} that {name} likes",
)
ENDINGS = ("", " please")
_COMBINED = list(product(range(len(OPENERS)), range(len(OBJECTS)), range(len(ENDINGS))))


def _phrasings(*, new: bool) -> tuple[str, ...]:
    """Return sentences of the grammar; a fifth of the pairs of opener and object are new, one in five of each."""
    chosen = [place for place in _COMBINED if ((place[0] - place[1]) % len(OBJECTS) == 0) == new]
    return tuple(f"{OPENERS[opener]} {OBJECTS[what]}{ENDINGS[ending]}" for opener, what, ending in chosen)


PHRASINGS = _phrasings(new=False)
"""Phrasings that are in text and speech of the training."""
NEW_PHRASINGS = _phrasings(new=True)
"""Phrasings of known words that are neither in text nor in speech of the training."""


@dataclass(frozen=True)
class Fact:
    """A person's `topic` is `value`."""

    name: str
    topic: str
    value: str

    def question(self, phrasing: str) -> str:
        """Return the question for the fact, without punctuation, as in a transcript."""
        return phrasing.format(name=self.name, topic=self.topic)

    @property
    def answer(self) -> str:
        """The answer that states the fact."""
        return f"The {self.topic} is {self.value}."


def invent(seed: int, names: int) -> list[Fact]:
    """Return a fact with a random value for each topic of the first `names` people."""
    draw = random.Random(seed)
    return [Fact(name, topic, draw.choice(values)) for name in NAMES[:names] for topic, values in VALUES.items()]
