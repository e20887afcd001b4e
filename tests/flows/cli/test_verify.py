"""`echox verify`: whole and damaged stores."""

import shutil
from pathlib import Path

from tests.flows.conftest import Echox


def test_verify_tells_whole_from_damaged(store: Path, echox: Echox, tmp_path: Path) -> None:
    whole = echox("verify", store)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "files whole, every row decodes back" in whole.stdout
    damaged = Path(shutil.copytree(store, tmp_path / "damaged"))
    next((damaged / "data" / "units").iterdir()).unlink()
    found = echox("verify", damaged)
    assert found.returncode == 1
    assert found.stderr.startswith("wrong: ")
    assert "problems" in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
