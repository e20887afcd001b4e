"""`echox forget`, `echox gc --erase` and `echox verify --forgotten`, as a person types them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.flows.conftest import Echox

pytestmark = pytest.mark.slow


@pytest.fixture
def site(config: Path, tmp_path: Path) -> Path:
    """A copy of the config and its sources, which no other test changes."""
    copied = shutil.copytree(config.parent, tmp_path / "site", ignore=shutil.ignore_patterns("corpus"))
    return Path(copied) / config.name


def test_from_the_letter_to_the_proof(site: Path, echox: Echox, tmp_path: Path) -> None:
    corpus = site.parent / "corpus"
    assert echox("build", site).returncode == 0
    ids = tmp_path / "ids.txt"
    ids.write_text("\ufeffread/2.wav\r\n\r\nread/4.wav\r\nread/none.wav\r\n", newline="")
    told = echox("forget", corpus, "--ids", ids, "--reason", "a letter")
    assert told.stdout.splitlines() == [
        "suppressed: 2 utterances (4.0 s), 1 ids that no version has",
        f"version 2 of {corpus} is without them",
        f"held by versions 1, in 2 training files; to erase them: echox gc {corpus} --erase",
    ], told.stderr
    assert (corpus / "reports" / "00000002.html").exists()
    again = json.loads(echox("forget", corpus, "--ids", ids, "--reason", "again", "--json").stdout)
    assert (again["new"], again["new_list"], again["version"], again["versions"]) == (False, None, 2, [1])
    built = echox("build", site)
    last = built.stderr.splitlines()[-1]
    assert (
        last == f"nothing to do: version 2 of {corpus} is up to date; entries: 0 new, 9 kept, 2 suppressed, 2 rejected"
    )
    assert "2 entries are kept out, because somebody withdrew them" in echox("inspect", corpus).stdout
    for options in (("--forgotten",), ("--absent", ids)):
        found = echox("verify", corpus, *options)
        assert (found.returncode, found.stdout) == (1, "")
        assert "files hold traces" in found.stderr
    dry = json.loads(echox("gc", corpus, "--erase", "--dry-run", "--json").stdout)
    assert (dry["expired"], dry["kept"]) == ([1], [2])
    erased = echox("gc", corpus, "--erase")
    assert "version 1, in all" in erased.stdout, erased.stderr
    for options in (("--forgotten",), ("--absent", ids)):
        found = echox("verify", corpus, *options)
        assert (found.returncode, found.stderr) == (0, "")
        assert "3 ids are absent" in found.stdout
    assert echox("verify", corpus).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what to forget: --speaker, --dataset, --ids or --licence"),
        (("--speaker", "nobody"), "no version has an utterance of speaker nobody; nothing is forgotten"),
        (("--ids", "nowhere.txt"), "nowhere.txt: ids cannot be read"),
        (("--ids", "empty.txt"), "empty.txt: holds no id; give a file with one id a line"),
    ],
)
def test_mistakes(
    store: Path,
    echox: Echox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    refused = echox("forget", store, "--reason", "a letter", *options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (store / "suppressed").exists()


def test_a_proof_is_about_the_whole_store(store: Path, echox: Echox) -> None:
    refused = echox("verify", f"{store}@1", "--forgotten")
    assert refused.returncode == 2
    assert "all files of the store are searched, those of all versions; name the store alone" in refused.stderr
    assert "nothing is suppressed; name ids with --absent FILE" in echox("verify", store, "--forgotten").stderr
