"""Prompts: ids of a request with a placeholder for speech."""

from dataclasses import dataclass
from typing import Literal

from echox.text.tokenizer import BEGIN_OF_TEXT, END_HEADER, END_OF_TURN, START_HEADER, TextTokenizer

PromptFormat = Literal["llama3", "released"]
"""`llama3`: Llama 3 Instruct's chat template. `released`: the format of the released EchoX checkpoints."""

RELEASED_SYSTEM = (
    "You are a helpful language and speech assistant. You are able to understand the speech content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
"""System message with which the released checkpoints were trained."""


@dataclass(frozen=True)
class Prompter:
    """Makes the ids of prompts and answers.

    In `llama3`, a turn is `<|start_header_id|>role<|end_header_id|>`, two newlines, the content and `<|eot_id|>`. In
    `released`, one newline follows the header, and each piece of text (role, newline, content) begins with
    `<|begin_of_text|>`, because each was tokenised by itself; speech follows the newline, the request speech.

    Attributes:
        tokenizer: tokenizer of the language model.
        format: see `PromptFormat`.
        system: system message, if there is one.
    """

    tokenizer: TextTokenizer
    format: PromptFormat = "llama3"
    system: str | None = None

    def speech_request(self, request: str) -> list[int]:
        """Return the ids of a prompt up to the start of the answer, with `speech_id` in place of the speech.

        Args:
            request: request about the speech, or the dialogue so far; may be empty.
        """
        turns = [self.tokenizer.special(BEGIN_OF_TEXT)]
        if self.system is not None:
            turns += self._turn("system", self._text(self.system.strip()))
        turns += self._turn("user", [self.tokenizer.speech_id, *self._request(request.strip())])
        return turns + self._header("assistant")

    def answer(self, text: str) -> list[int]:
        """Return the ids of an answer, with `<|eot_id|>` at the end."""
        return [*self._text(text.strip()), self.tokenizer.special(END_OF_TURN)]

    def _request(self, request: str) -> list[int]:
        return self._text(f"\n{request}" if request and self.format == "llama3" else request)

    def _turn(self, role: str, content: list[int]) -> list[int]:
        return [*self._header(role), *content, self.tokenizer.special(END_OF_TURN)]

    def _header(self, role: str) -> list[int]:
        start, end = self.tokenizer.special(START_HEADER), self.tokenizer.special(END_HEADER)
        newlines = "\n" if self.format == "released" else "\n\n"
        return [start, *self._text(role), end, *self._text(newlines)]

    def _text(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text)
        return [self.tokenizer.special(BEGIN_OF_TEXT), *ids] if self.format == "released" else ids
