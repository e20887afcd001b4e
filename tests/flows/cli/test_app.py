"""The command as a whole: help, completion, exit codes, messages."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.cli import commands
from flows.command import PANELS
from tests.flows.conftest import CLI, Echox

COMMANDS = {
    "build",
    "approve",
    "debug",
    "inspect",
    "label",
    "verify",
    "versions",
    "repair",
    "train",
    "encode",
    "files",
    "convert",
    "copy",
    "diff",
    "export",
    "gc",
    "forget",
}


def completed(*words: str) -> list[str]:
    """Completions that the shell offers for the last word."""
    line = {
        "COMP_WORDS": " ".join(("echox", *words)),
        "COMP_CWORD": str(len(words)),
        "_ECHOX_COMPLETE": "complete_bash",
    }
    shown = subprocess.run(CLI, env=os.environ | line, capture_output=True, text=True, timeout=60, check=True)
    return shown.stdout.split()


def test_every_module_is_a_command_in_a_panel() -> None:
    found = commands()
    assert {command.name for command in found} == COMMANDS
    assert [command.panel for command in found] == sorted((c.panel for c in found), key=PANELS.index)
    assert all(command.example.startswith(f"echox {command.name} ") for command in found)


def test_the_help_lists_the_commands_in_panels_and_no_empty_one(echox: Echox) -> None:
    lines = echox("--help").stdout.splitlines()
    panels = [line.split()[1] for line in lines if line.startswith("╭─")]
    assert panels == ["Options", "Build", "Look", "Keep", "Train", "Speak"]
    first_words = [line.split()[1] for line in lines if line.startswith("│ ") and not line.startswith("│   ")]
    assert [word for word in first_words if not word.startswith("-")] == [command.name for command in commands()]


def test_the_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "pyarrow", "prefect", "ray", "fairseq2", "pydantic"}
    code = f"import sys; from flows.cli import app; app(); print(*({heavy} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.split() == []


def test_the_shell_completes_commands_options_and_steps() -> None:
    assert completed("bu") == ["build"]
    assert completed("build", "--un") == ["--until"]
    assert completed("build", "a.yaml", "--until", "fit") == ["fit_quantizer", "fit_unit_language"]


def test_the_version_of_the_program(echox: Echox) -> None:
    shown = echox("--version")
    assert (shown.returncode, shown.stdout) == (0, f"echox {version('echox')}\n")


@pytest.mark.parametrize("command", [command.name for command in commands()])
def test_help_shows_an_example(command: str, echox: Echox) -> None:
    result = echox(command, "--help")
    assert result.returncode == 0
    assert f"Example: echox {command} " in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "{tmp}/absent.yaml"), "error: {tmp}/absent.yaml: cannot read the config: No such file"),
        (
            ("build", "{config}", "--set", "quantizer.clusters=5"),
            "error: --set quantizer.clusters=5: is not a field here",
        ),
        (("inspect", "{tmp}/absent"), "{tmp}/absent"),
        (("inspect", "{store}@7"), "has no version 7; it has 1"),
        (("inspect", "{store}@latest"), "@VERSION is a number: {store}@1"),
        (("versions", "{config}"), "{config}"),
        (("versions", "{tmp}"), "{tmp} has no corpus version yet"),
        (("encode", "{config}", "--store", "{store}"), "[not_audio]"),
        (("encode", "--store", "{store}"), "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_end_with_2_and_a_message(
    arguments: tuple[str, ...], message: str, store: Path, config: Path, tmp_path: Path, echox: Echox
) -> None:
    places = {"tmp": str(tmp_path), "config": str(config), "store": str(store)}
    result = echox(*(argument.format(**places) for argument in arguments))
    assert result.returncode == 2
    assert message.format(**places) in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_failure_ends_with_1_and_a_traceback(store: Path) -> None:
    with Path("/dev/full").open("w") as full:  # a disk without space
        result = subprocess.run(
            [*CLI, "inspect", str(store)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert "No space left on device" in result.stderr.splitlines()[-1]
