"""Names and texts that would act in a terminal are shown as escapes in everything that people read."""

import json
from pathlib import Path

import pytest

from tests.flows.conftest import Echox, write_clips
from unitlang.printing import shown_lines

pytestmark = pytest.mark.slow

TITLE = "\x1b]0;owned\x07"
NAMES = (
    f"a{TITLE}.wav",
    "b\x1b[2J.wav",
    "c\u202egnp.wav",
    "d\nerror: forged.wav",
    "e\u200bf\u2066.wav",
    "g\x9b1m.wav",
)
PLAIN = "grüße-日本語-مرحبا-👍🏽.wav"
SHOWN = (r"a\x1b]0;owned\x07.wav", r"b\x1b[2J.wav", r"c\u202egnp.wav", r"d\nerror: forged.wav", r"e\u200bf\u2066.wav")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config of a build of clips, and of files with names that act; none of these is audio."""
    folder = tmp_path_factory.mktemp("hostile")
    write_clips(folder / "clips", 6, seed=3)
    for name in (*NAMES, PLAIN):
        (folder / "clips" / name).write_text("no audio at all " * 20)
    values = {
        "store": "corpus",
        "sources": [{"kind": "folder", "dataset": "clips", "path": "clips"}],
        "quantizer": {"k": 10, "iterations": 5},
        "unit_language": {"vocab_size": 30},
    }
    (folder / "build.yaml").write_text(json.dumps(values))
    return folder / "build.yaml"


def test_nothing_that_people_read_acts(echox: Echox, hostile: Path) -> None:
    refused = echox("build", hostile)
    assert refused.returncode == 2
    assert any(name in refused.stderr for name in SHOWN)
    built = echox("build", hostile, "--set", "max_reject_ratio=1.0")
    assert built.returncode == 0, built.stderr
    store = hostile.parent / "corpus"
    outputs = [refused, built, *(echox(command, store) for command in ("inspect", "versions", "verify", "repair"))]
    page = (store / "reports" / "00000001.html").read_text("utf-8")
    for text in (page, *(text for done in outputs for text in (done.stdout, done.stderr))):
        assert shown_lines(text) == text
        assert not any(line.startswith("error: forged") for line in text.splitlines())
    assert any(name in page for name in SHOWN)


def test_json_keeps_names_exactly(echox: Echox, hostile: Path) -> None:
    built = echox("build", hostile, "--set", "max_reject_ratio=1.0", "--set", "store=other")
    assert built.returncode == 0, built.stderr
    done = echox("inspect", "--json", hostile.parent / "other")
    assert shown_lines(done.stdout) == done.stdout
    (rows,) = json.loads(done.stdout)["reject_examples"].values()
    assert {Path(row["source"]).name for row in rows} <= {*NAMES, PLAIN}
    assert len(rows) == 3


def test_encode_tells_faults_on_one_line_each(echox: Echox, hostile: Path, store: Path) -> None:
    files = [hostile.parent / "clips" / name for name in (*NAMES, PLAIN)]
    done = echox("encode", *files, "--store", store)
    lines = done.stderr.splitlines()
    assert [line.partition("/clips/")[2].partition(": ")[0] for line in lines if "forged" not in line][:2] == [
        *SHOWN[:2]
    ]
    assert len(lines) == len(files)
    assert PLAIN in done.stderr
    assert shown_lines(done.stderr) == done.stderr


ACTING = f"a{TITLE}b\u202ec\u200bd\x9b1m"


@pytest.mark.parametrize(
    "arguments",
    [
        (f"bu{ACTING}",),
        ("build", f"--{ACTING}"),
        ("build", "a", f"b{ACTING}"),
        ("export", "a", "b", "--format", "hf", "--threads", ACTING),
        ("inspect", f"--json={ACTING}", "a"),
        ("train", ACTING, "--corpus", "a", "--out", "b"),
        ("build", f"{ACTING}.yaml"),
        ("build", "a.yaml", "--ray", ACTING),
    ],
    ids=lambda arguments: arguments[0][:6] + str(len(arguments)),
)
def test_usage_errors_do_not_act(echox: Echox, arguments: tuple[str, ...]) -> None:
    done = echox(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert shown_lines(done.stderr) == done.stderr
