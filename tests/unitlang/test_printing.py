"""Texts must not change a terminal or mislead a reader, and must stay readable."""

import json

import pytest

from unitlang.printing import json_text, shown, shown_lines

ACTING = {
    "colour": ("a\x1b[31mb", "a\\x1b[31mb"),
    "window title": ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    "C1's form of the same": ("a\x9b2Jb", "a\\x9b2Jb"),
    "overwriting": ("wrong\rright", "wrong\\rright"),
    "backspace": ("ab\x08c", "ab\\x08c"),
    "a line of its own": ("a\nerror: forged", "a\\nerror: forged"),
    "another line separator": ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
    "NUL and DEL": ("a\0b\x7f", "a\\x00b\\x7f"),
    "override of the direction": ("x\u202egnp.wav", "x\\u202egnp.wav"),
    "isolates": ("\u2066a\u2069", "\\u2066a\\u2069"),
    "marks of the direction": ("\u200ea\u200fb\u061cc", "\\u200ea\\u200fb\\u061cc"),
    "zero width": ("pass\u200bword\u2060\ufeff", "pass\\u200bword\\u2060\\ufeff"),
    "joiners in Latin": ("pass\u200dword\u200c", "pass\\u200dword\\u200c"),
    "joiners that hide bits": ("م\u200c\u200d\u200cی", "م\\u200c\\u200d\\u200cی"),
    "blank letters": ("a\u3164b\u115f", "a\\u3164b\\u115f"),
    "tags": ("a\U000e0068\U000e0069", "a\\U000e0068\\U000e0069"),
    "variants that hide bits": ("a\ufe00\ufe01\ufe02", "a\ufe00\\ufe01\\ufe02"),
    "soft hyphen": ("a\xadb", "a\\xadb"),
    "no UTF-8": ("\udcff.wav", "\\udcff.wav"),
}
READABLE = (
    "Grüße, naïve, e\u0301, Ångström, ß",
    "日本語、中文，한국어",
    "مرحبا بالعالم",
    "می\u200cخواهم",
    "क्\u200dष हिन्दी ไทย עברית",
    "👩‍👩‍👧 ❤️ 👍🏽 🏴‍☠️ 1️⃣",
    r"C:\new\x1b 100 % [red] `code` \u202e",
)


@pytest.mark.parametrize(("text", "seen"), ACTING.values(), ids=ACTING)
def test_what_acts_or_hides_is_escaped(text: str, seen: str) -> None:
    assert shown(text) == seen
    assert shown(seen) == seen


@pytest.mark.parametrize("text", READABLE)
def test_letters_stay(text: str) -> None:
    assert shown(text) == shown_lines(text) == text
    assert text in json_text([text]) or "\\" in text


def test_lines_of_the_program_stay() -> None:
    assert shown_lines("error:\n\ta\x1b\r\n") == "error:\n\ta\\x1b\\r\n"


@pytest.mark.parametrize("indent", [None, 1])
def test_json_is_exact_and_does_not_act(indent: int | None) -> None:
    values = {name: text for name, (text, _) in ACTING.items() if "UTF-8" not in name} | {"x": list(READABLE)}
    text = json_text(values, indent)
    assert json.loads(text) == values
    assert shown_lines(text) == text
    assert "日本語" in text


def test_secrets_are_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("PGPASSWORD", "short")
    monkeypatch.setenv("DESKTOP_SESSION", "everyday-word")
    text = "wJalrXUtnFEMI hf_0123456789 short everyday-word https://u:p@host/a?sig=1"
    assert shown(text) == "*** *** short everyday-word https://***@host/a?sig=***"
