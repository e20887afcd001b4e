"""Made-up facts for `miniature.py`, and ways to ask for them."""

import random
from dataclasses import dataclass

NAMES = (
    "Mira",
    "Bob",
    "Oscar",
    "Tina",
    "Victor",
    "Julia",
    "Max",
    "Helen",
    "Peter",
    "Sophie",
    "George",
    "Nadia",
)
VALUES = {
    "pet": ("a rabbit", "a parrot", "a donkey", "a lizard", "a hamster", "a crocodile"),
    "fruit": ("a banana", "an orange", "a melon", "a cherry", "a pineapple", "a coconut"),
    "town": ("London", "Paris", "Chicago", "Istanbul", "Moscow", "Toronto"),
    "instrument": ("a violin", "a trumpet", "a piano", "a guitar", "a saxophone", "a drum"),
    "drink": ("coffee", "lemonade", "water", "chocolate", "apple juice", "milk"),
    "job": ("teaching", "baking", "farming", "fishing", "painting", "sailing"),
    "sport": ("football", "tennis", "hockey", "swimming", "badminton", "cricket"),
    "flower": ("a tulip", "a daisy", "a sunflower", "an orchid", "a lily", "a rose"),
}
"""By topic."""
PHRASINGS = (
    "What is {name}'s {topic}?",
    "Tell me the {topic} of {name}.",
    "Do you know {name}'s {topic}?",
    "Which {topic} does {name} have?",
    "{name} has a {topic}, which one?",
    "Please say which {topic} is {name}'s.",
)
"""Taught as text, and spoken in training."""
NEW_PHRASINGS = (
    "What is the {topic} of {name}?",
    "Please tell me {name}'s {topic}.",
    "Do you know which {topic} {name} has?",
)
"""Known words in an order that neither text nor speech of the training has."""


@dataclass(frozen=True)
class Fact:
    """That a person's `topic` is `value`."""

    name: str
    topic: str
    value: str

    def question(self, phrasing: str) -> str:
        """It asked for."""
        return phrasing.format(name=self.name, topic=self.topic)

    @property
    def answer(self) -> str:
        """It told."""
        return f"The {self.topic} is {self.value}."


def invent(seed: int, names: int) -> list[Fact]:
    """One fact for each topic of each of the first `names` people; the value is drawn."""
    draw = random.Random(seed)
    return [Fact(name, topic, draw.choice(values)) for name in NAMES[:names] for topic, values in VALUES.items()]
