from pathlib import Path

from echox.data.rows import read_rows
from tests.echox.shelves import write_shelves


def test_a_row_group_of_which_no_row_is_wanted_gives_none(tmp_path: Path) -> None:
    corpus = write_shelves(tmp_path / "store", 1)
    for group in corpus.row_groups("s2t"):
        assert read_rows(corpus.store, group, ["example_id"], lambda *_: False) == []
        (first,) = read_rows(corpus.store, group, ["example_id"], lambda number, *_: number == 0)
        assert first[0] == 0
