"""`echox debug`: a work unit of a real build, run again alone; whole, failing, and in the debugger."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from storage.receipts import Receipt
from storage.versions import resolve
from tests.flows.conftest import CLI, Echox, Process


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    """A corpus of one's own."""
    return Path(shutil.copytree(store, tmp_path / "copy"))


def first_receipt(store: Path, step: str) -> Receipt:
    return resolve(store)[1].steps[step][0]


@pytest.mark.parametrize("step", ["quantize", "encode"])
def test_a_work_unit_gives_the_same_bytes_again(copy: Path, echox: Echox, step: str) -> None:
    receipt = first_receipt(copy, step)
    files = {copy / file.path: (copy / file.path).read_bytes() for file in receipt.files}
    ran = echox("debug", copy, step, receipt.fingerprint)
    assert ran.returncode == 0, ran.stderr
    again: dict[str, Any] = json.loads(ran.stdout)
    assert again == json.loads(json.dumps(receipt.to_dict()))
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize(("step", "fingerprint"), [("quantise", None), ("quantize", "0123456789abcdef")])
def test_an_unknown_step_or_work_unit_is_a_user_error(
    store: Path, echox: Echox, step: str, fingerprint: str | None
) -> None:
    ran = echox("debug", store, step, fingerprint or first_receipt(store, "quantize").fingerprint, "--pdb")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: ")
    assert (fingerprint or step) in ran.stderr
    assert "(Pdb)" not in ran.stdout


def debug_at_a_prompt(store: Path, receipt: Receipt, commands: str) -> Process:
    command = [*CLI, "debug", str(store), receipt.step, receipt.fingerprint, "--pdb"]
    return subprocess.run(command, input=commands, capture_output=True, text=True, timeout=120, check=False)


def test_the_debugger_opens_where_the_work_unit_fails(copy: Path) -> None:
    receipt = first_receipt(copy, "encode")
    for file in (copy / "data" / "units").iterdir():
        file.unlink()
    ran = debug_at_a_prompt(copy, receipt, "where\nquit\n")
    assert ran.returncode == 1
    assert ran.stderr.startswith("Traceback (most recent call last):")
    assert "(Pdb)" in ran.stdout
    assert "rerun" in ran.stdout, "`where` lists the frames"
