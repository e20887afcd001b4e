"""fairseq's manifests: a root folder on the first line, then a path and a number of samples per line."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers.base import BadItem, Item, Reader, Reads
from pipelines.readers.lines import Line, read_lines
from pipelines.readers.places import LEADS_OUT, Entry, Place
from pipelines.readers.rows.paths import locate


class FairseqTsvReader(Reader):
    """The `.tsv` of fairseq's wav2vec and HuBERT recipes, with labels in a file of the same name.

    The stated numbers of samples are at the files' own rates and may be outdated: ingest measures. Utterance ids are
    `<dataset>/<path as written>`.
    """

    reads: ClassVar[Reads] = "file"
    kind: Literal["fairseq_tsv"] = "fairseq_tsv"
    """fairseq manifest: root folder, then path and samples per line."""
    labels: Literal["wrd", "ltr", "txt"] | None = None
    """Extension of a file beside the manifest whose line i is the text of row i; ltr = letters, `|` between words."""
    audio_dir: ConfigPath | None = None
    """Folder that the paths start from, instead of the one on the first line."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the rows in the order of the file.

        Raises:
            UserError: the manifest or its labels cannot be read, or do not match.
        """
        place = Place.of(self.path)
        rows = read_lines(place)
        root = self._root(place, next(rows, None))
        for row, label in zip(rows, self._labels(place), strict=False):
            try:
                yield self._item(root, row, label)
            except ValueError as error:
                reason = "bad_text" if row.fault is None and label and label.fault else "bad_row"
                yield self.bad(f"{place.uri}:{row.number}", reason, str(error))

    def _root(self, place: Place, first: Line | None) -> Place:
        if self.audio_dir:
            return Place.of(self.audio_dir)
        if first is None or first.fault or not first.text.strip() or "\t" in first.text:
            raise UserError(f"{place.uri}: the first line of a fairseq manifest is the root folder of its paths")
        return place.parent.join(first.text.strip())

    def _labels(self, place: Place) -> Iterator[Line | None]:
        """Yield the label of each row; None endlessly without labels.

        Raises:
            UserError: the file of labels is a link to elsewhere, or has more or fewer lines than the manifest has rows.
        """
        if self.labels is None:
            while True:
                yield None
        labels = place.parent.child(f"{place.name.removesuffix('.tsv')}.{self.labels}")
        if labels.parent.leads_out(Entry(labels.name, None, linked=True), folders=self.confine):
            raise UserError(f"{labels.uri}: {LEADS_OUT}")
        num_rows = sum(1 for _ in read_lines(place)) - 1
        num_labels = sum(1 for _ in read_lines(labels))
        if num_rows != num_labels:
            raise UserError(f"{labels.uri} has {num_labels} lines, but {place.uri} has {num_rows} rows")
        yield from read_lines(labels)

    def _item(self, root: Place, row: Line, label: Line | None) -> Item:
        if fault := row.fault or (label and label.fault):
            raise ValueError(fault)
        path, _, samples = row.text.partition("\t")
        if not path or not samples.strip().isdigit():
            raise ValueError(f"a row must read <path>, a tab and the number of samples, not {row.text[:80]!r}")
        if "\0" in path:
            raise ValueError("the path holds a NUL character")
        audio, size = locate(path, root)
        return Item(
            utterance_id=f"{self.dataset}/{path}",
            dataset=self.dataset,
            uri=audio.uri,
            size=size,
            split=self.split,
            task=self.task,
            language=self.language,
            text=self._text(label),
        )

    def _text(self, label: Line | None) -> str | None:
        if label is None:
            return None
        text = label.text.replace(" ", "").replace("|", " ") if self.labels == "ltr" else label.text
        return text.strip() or None
