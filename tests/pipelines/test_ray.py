"""Real Ray: the bytes do not depend on where or by how many the work was done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.build import Built

pytestmark = pytest.mark.slow

Config = dict[str, Any]


def files(store: Path) -> dict[str, bytes]:
    """Contents of every file that the corpus consists of."""
    paths = [path for folder in ("data", "training", "artifacts") for path in (store / folder).rglob("*")]
    return {str(path.relative_to(store)): path.read_bytes() for path in paths if path.is_file()}


def test_one_worker_two_workers_and_none_give_the_same_bytes(
    config: Config, run_build: Callable[..., Built], tmp_path: Path
) -> None:
    stores: dict[str, Path] = {}
    for name, workers, address in (("none", None, None), ("one", 1, "local"), ("two", 2, "local")):
        stores[name] = tmp_path / name
        run_build({**config, "store": str(stores[name]), "run": {"workers": workers}}, address)
    assert files(stores["none"]) == files(stores["one"])
    assert files(stores["none"]) == files(stores["two"])


def test_a_failure_in_a_worker_ends_the_build_with_its_cause(
    config: Config, run_build: Callable[..., Built], tmp_path: Path
) -> None:
    run_build(config)
    store = Path(config["store"])
    for receipt in (store / "data" / "receipts" / "encode").iterdir():
        receipt.unlink()
    for path in (store / "artifacts" / "unit_language").rglob("unit_language.model"):
        path.write_bytes(b"damaged")
    next((store / "manifests").iterdir()).unlink()
    with pytest.raises(Exception, match="is not what was written"):
        run_build(config, "local")
