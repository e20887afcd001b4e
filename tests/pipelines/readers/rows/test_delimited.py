from pathlib import Path

import pytest

from pipelines.readers.lines import MAX_LINE_BYTES, read_lines
from pipelines.readers.places import Place
from pipelines.readers.rows.delimited import MAX_ROW_LINES, Row, is_quoted, read_rows


def rows(tmp_path: Path, content: bytes, *, tab: bool = False) -> list[Row]:
    path = tmp_path / "rows"
    path.write_bytes(content)
    place = Place.of(str(path))
    return list(read_rows(read_lines(place), "\t" if tab else ",", quoted=not tab or is_quoted(read_lines(place))))


def good(found: list[Row]) -> list[tuple[int, list[str]]]:
    return [(row.line, row.values) for row in found if row.fault is None]


def bad(found: list[Row]) -> list[int]:
    return [row.line for row in found if row.fault]


def test_csv_with_quotes_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    content = '\ufeffa,b\r\n1,"x, ""y"""\r\n\r\n2,"two\nlines\u2028 and a separator"\r\n3,5" pipe\r\n'.encode()
    found = rows(tmp_path, content)
    assert good(found) == [
        (1, ["a", "b"]),
        (2, ["1", 'x, "y"']),
        (4, ["2", "two\nlines\u2028 and a separator"]),
        (6, ["3", '5" pipe']),
    ]


def test_a_stray_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    found = rows(tmp_path, b'a,b\n1,"open\n2,fine\n3,"fine"\n4,fine\n')
    assert bad(found) == [2]
    assert [values[0] for _, values in good(found)] == ["a", "2", "3", "4"]
    lines = b"".join(b"%d,fine\n" % number for number in range(3 * MAX_ROW_LINES))
    found = rows(tmp_path, b'a,b\n1,"open\n' + lines)
    assert bad(found) == [2]
    assert len(good(found)) == 1 + 3 * MAX_ROW_LINES


def test_bad_rows_between_good_ones(tmp_path: Path) -> None:
    content = b"a,b\n1,2,3\n\xff,2\n" + b"x" * (MAX_LINE_BYTES + 9) + b",1\n1\n3,4\n5,6\r7\n" + b"8," + b"9" * 200_000
    found = rows(tmp_path, content)
    assert bad(found) == [2, 3, 4, 5, 7, 8]
    assert good(found) == [(1, ["a", "b"]), (6, ["3", "4"])]


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    found = rows(tmp_path, b'a\tb\n1\t"Stop," she said\n2\t"\n', tab=True)
    assert good(found) == [(1, ["a", "b"]), (2, ["1", '"Stop," she said']), (3, ["2", '"'])]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"""Good-bye,"" said the boy."', '"Good-bye," said the boy.'),
        ('"two\nlines"', "two\nlines"),
        ('"a\ttab"', "a\ttab"),
        ('"say ""no"""', 'say "no"'),
        ('"\n""\n"', '\n"\n'),
    ],
)
def test_a_tsv_with_balanced_quotes_has_the_quoting_of_csv(tmp_path: Path, field: str, text: str) -> None:
    found = rows(tmp_path, f'a\tb\n1\t{field}\n2\t"Yes."\n3\tplain\n'.encode(), tab=True)
    assert [row.values for row in found] == [["a", "b"], ["1", text], ["2", "Yes."], ["3", "plain"]]


def test_a_tsv_with_a_quoted_header_has_the_quoting_of_csv(tmp_path: Path) -> None:
    found = rows(tmp_path, b'"a"\t"b"\n"1"\t"Yes."\n"2"\t""\n', tab=True)
    assert [row.values for row in found] == [["a", "b"], ["1", "Yes."], ["2", ""]]


@pytest.mark.parametrize(
    "field",
    ['"Stop," she said', 'a 5" pipe', '"', '""no""', '"Yes."', '""', 'say ""no""', '"open', '"a"b"', '"no""'],
)
def test_a_tsv_with_other_quotes_is_read_as_it_is(tmp_path: Path, field: str) -> None:
    content = f'a\tb\n1\t{field}\n2\t"Yes."\n3\tplain\n'
    found = rows(tmp_path, content.encode(), tab=True)
    assert [row.values for row in found] == [line.split("\t") for line in content.splitlines()]


def test_one_bare_quote_makes_all_quotes_of_a_tsv_bare(tmp_path: Path) -> None:
    found = rows(tmp_path, b'a\tb\n1\t"say ""no"""\n2\t"Stop," she said\n', tab=True)
    assert [row.values[1] for row in found] == ["b", '"say ""no"""', '"Stop," she said']


def test_a_damaged_line_does_not_decide_about_quotes(tmp_path: Path) -> None:
    found = rows(tmp_path, b'a\tb\n\xff"\tx\n1\t"say ""no"""\n', tab=True)
    assert bad(found) == [2]
    assert good(found)[-1] == (3, ["1", 'say "no"'])
    many = b'a\tb\n1\t"' + b"line\n" * (MAX_ROW_LINES + 5) + b'"\n2\t"say ""no"""\n'
    assert rows(tmp_path, many, tab=True)[-1].values == ["2", '"say ""no"""']
