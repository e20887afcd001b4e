"""A corpus in a bucket, over HTTP."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from storage.store import Store
from storage.versions import resolve

pytestmark = pytest.mark.slow

Config = dict[str, Any]


def test_a_bucket_holds_the_same_corpus_as_a_folder(
    config: Config,
    run_build: Callable[..., Built],
    make_speech: Callable[..., Path],
    speech: Path,
    tmp_path: Path,
    s3_bucket: str,
) -> None:
    folder = Path(shutil.copytree(speech, tmp_path / "growing"))
    config["sources"][0]["path"] = str(folder)
    local = run_build(config).version
    remote = run_build({**config, "store": s3_bucket}).version
    assert remote.steps == local.steps
    assert remote.artifacts == local.artifacts
    there, here = Store.open(s3_bucket), Store.open(config["store"])
    for file in local.files("units") + local.files("s2t"):
        assert there.get(file.path) == here.get(file.path)
    assert not run_build({**config, "store": s3_bucket}).new
    make_speech(folder, 2, start=30)
    assert run_build({**config, "store": s3_bucket}).version.number == 2
    assert list(verify(*resolve(s3_bucket))) == []
