from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.export.names import archive_key, kaldi_ids, split_names

NAMES = st.text(st.characters(codec="utf-8"), min_size=1)


@given(NAMES)
def test_a_key_has_no_dots_is_ascii_and_gives_the_id_back(name: str) -> None:
    key = archive_key(name)
    assert key.isascii()
    assert not {*key} & {*'. \t\n\\:*?"<>|'}
    assert not key.startswith("/")
    assert "//" not in key
    assert unquote(key.replace("=", "%")) == name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("d/84-121123-0001", "d/84-121123-0001"),
        ("d/a b.wav", "d/a=20b=2Ewav"),
        ("d/../../x", "d/=2E=2E/=2E=2E/x"),
        ("d//x", "d=2F=2Fx"),
        ("d/é", "d/=C3=A9"),
        ("d/a=b", "d/a=3Db"),
    ],
)
def test_keys_of_archives(name: str, key: str) -> None:
    assert archive_key(name) == key


PEOPLE = st.tuples(
    st.sampled_from(["d", "d-x", "d=", "d.e"]), st.sampled_from([None, "a", "a-b", "a b", "a+", "é", "a/b"])
)


@given(st.lists(st.tuples(PEOPLE, st.text("ab-+/.é ", min_size=1, max_size=3)), unique=True))
def test_ids_of_kaldi_are_distinct_and_sort_like_their_speakers(
    listed: list[tuple[tuple[str, str | None], str]],
) -> None:
    entries = {(dataset, speaker, f"{dataset}/{name}") for (dataset, speaker), name in listed}
    ids = [kaldi_ids(name, dataset, speaker) for dataset, speaker, name in entries]
    assert len({utterance for utterance, _ in ids}) == len(entries)
    assert sorted(ids) == sorted(ids, key=lambda pair: (pair[1], pair[0]))
    assert all(utterance.startswith(speaker) and not {*utterance} & {*" \t/"} for utterance, speaker in ids)
    owners = {(d, s) if s is not None else name for d, s, name in entries}
    assert len({speaker for _, speaker in ids}) == len(owners)


def test_names_of_splits() -> None:
    splits = {None, "train", "test-clean", "test clean", "dev", "all", ""}
    named = split_names(splits)
    assert {split: named[split] for split in (None, "", "train", "dev", "all")} == {
        None: "train",
        "": "train",
        "train": "train",
        "dev": "dev",
        "all": "all_",
    }
    assert {named["test-clean"], named["test clean"]} == {"test_clean", "test_clean_"}
