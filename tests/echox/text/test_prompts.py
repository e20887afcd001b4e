from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from echox.text.llama3 import SPEECH_TOKENS, Llama3Tokenizer
from echox.text.prompts import RELEASED_SYSTEM, Prompter
from echox.text.tokenizer import BEGIN_OF_TEXT
from tests.echox.text.test_tokenizers import CHAT, byte_level

SPEECH = SPEECH_TOKENS[1]
TEMPLATE = (  # what Meta's template makes of a conversation without tools
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return byte_level(tmp_path)


@pytest.mark.parametrize("system", [None, " You listen. "])
@pytest.mark.parametrize("request_text", ["", " Answer the question.\n"])
def test_llama3_is_the_chat_template(folder: Path, system: str | None, request_text: str) -> None:
    prompter = Prompter(Llama3Tokenizer.load(folder), "llama3", system)
    reference = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token=BEGIN_OF_TEXT, chat_template=TEMPLATE
    )
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": f"{SPEECH}\n{request_text.strip()}"})
    prompt = reference.apply_chat_template(messages, add_generation_prompt=True)
    assert prompter.speech_request(request_text) == prompt
    whole = reference.apply_chat_template([*messages, {"role": "assistant", "content": " It is. "}])
    assert prompt + prompter.answer(" It is. ") == whole


def test_released_is_how_the_released_checkpoints_are_asked(folder: Path) -> None:
    tokenizer = Llama3Tokenizer.load(folder)
    begin, start, end, stop = (tokenizer.special(token) for token in CHAT)
    prompter = Prompter(tokenizer, "released", RELEASED_SYSTEM)

    def piece(text: str) -> list[int]:  # a tokenizer of Hugging Face puts the begin in front of each call's text
        return [begin, *tokenizer.encode(text)]

    expected = [begin, start, *piece("system"), end, *piece("\n"), *piece(RELEASED_SYSTEM), stop]
    expected += [start, *piece("user"), end, *piece("\n"), tokenizer.speech_id, *piece("Answer."), stop]
    expected += [start, *piece("assistant"), end, *piece("\n")]
    assert prompter.speech_request("Answer.") == expected
    assert prompter.answer("Yes.") == [*piece("Yes."), stop]


@pytest.mark.parametrize("prompt_format", ["llama3", "released"])
def test_the_placeholder_stands_once_whatever_is_asked(folder: Path, prompt_format: str) -> None:
    prompter = Prompter(Llama3Tokenizer.load(folder), prompt_format)
    for request in ("", "What?", SPEECH):
        assert prompter.speech_request(request).count(prompter.tokenizer.speech_id) == 1
