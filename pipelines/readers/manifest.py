"""A manifest: one row per utterance in a CSV, TSV or JSONL file."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers import fields
from pipelines.readers.base import BadItem, Item, Reader, Reads, Task
from pipelines.readers.delimited import read_rows
from pipelines.readers.lines import parse_object, read_lines
from pipelines.readers.places import Place

AUDIO = ("audio", "path", "wav", "audio_path", "audio_filepath", "file")
"""Names of the field with the audio's path; the first one present counts."""


class ManifestReader(Reader):
    """The rows of a `.csv` or `.tsv` file with a header, or of a `.jsonl` file (Common Voice, NeMo, ...).

    | field | accepted names |
    |---|---|
    | audio, a path or `{"path": ...}` | audio, path, wav, audio_path, audio_filepath, file |
    | text | text, sentence, transcription, transcript, normalized_text |
    | id | id, utterance_id, utt_id; default: the audio's path, with `#<offset>+<samples>` for a segment |
    | segment, in seconds | offset and duration, or start and end; default: the whole file |
    | speaker | speaker, speaker_id, client_id |
    | language | language, lang, locale |
    | under their own names | split, task, dataset, dialogue_id, turn (counted from 0), role |

    Other columns are ignored. A row without audio is a written turn if it has text, dialogue_id, turn and role. A row
    with a dialogue_id has the task sqa, unless it or the source states another. The rows of a dialogue must be
    consecutive.
    """

    reads: ClassVar[Reads] = "file"
    kind: Literal["manifest"] = "manifest"
    """CSV, TSV or JSONL file with one row per utterance."""
    audio_dir: ConfigPath | None = None
    """Folder that relative audio paths start from; default: that of the manifest."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the rows in the order of the file.

        Raises:
            UserError: the file cannot be read, has another extension, is empty, or has no column of audio paths.
        """
        place = Place.of(self.path)
        base = Place.of(self.audio_dir) if self.audio_dir else place.parent
        suffix = place.name.rpartition(".")[2].lower()
        if suffix in ("csv", "tsv"):
            records = _table_records(place, tab=suffix == "tsv")
        elif suffix in ("jsonl", "ndjson", "json"):
            records = _json_records(place)
        else:
            raise UserError(f"{place.uri}: a manifest must be a .csv, .tsv or .jsonl file")
        for line, record in records:
            try:
                yield self._item(record, base)
            except ValueError as error:
                yield self._bad(record, f"{place.uri}:{line}", str(error))

    def _item(self, record: Mapping[str, Any] | str, base: Place) -> Item:
        if isinstance(record, str):
            raise ValueError(record)
        audio = fields.get_path(record, AUDIO)
        if audio is None and not _is_written_turn(record):
            raise ValueError(f"no audio: one of the fields {', '.join(AUDIO)} must hold a path")
        offset, length = fields.get_segment(record)
        dataset = self._dataset(record)
        name = fields.get_text(record, fields.ID) or _default_id(record, audio, offset, length)
        place = base.join(audio) if audio else None
        return Item(
            utterance_id=f"{dataset}/{name}",
            dataset=dataset,
            uri=place.uri if place else None,
            size=place.size() if place else None,
            offset_samples=offset,
            num_samples=length,
            split=fields.get_text(record, ("split",)) or self.split,
            task=self._task(record),
            language=fields.get_text(record, fields.LANGUAGE) or self.language,
            speaker_id=fields.get_text(record, fields.SPEAKER),
            text=fields.get_text(record, fields.TEXT),
            dialogue_id=_dialogue(record),
            turn=fields.get_count(record, "turn"),
            role=fields.get_role(record, ("role",)),
        )

    def _bad(self, record: Mapping[str, Any] | str, source: str, message: str) -> BadItem:
        """Return the reject of a row, with its dataset and dialogue if these can be read."""
        bad = self.bad(source, "bad_row", message)
        if isinstance(record, str):
            return bad
        try:
            return replace(bad, dataset=self._dataset(record), dialogue_id=_dialogue(record))
        except ValueError:  # the row has a bad dataset or dialogue; its fault is reported already
            return bad

    def _task(self, record: Mapping[str, Any]) -> Task:
        told = "task" in self.model_fields_set or _dialogue(record) is None
        return fields.get_task(record, self.task if told else "sqa")

    def _dataset(self, record: Mapping[str, Any]) -> str:
        dataset = fields.get_text(record, ("dataset",)) or self.dataset
        if any(character in "/@" or character.isspace() for character in dataset):
            raise ValueError(f"field 'dataset' is {dataset!r}; it must hold no '/', '@' or white space")
        return dataset


def _dialogue(record: Mapping[str, Any]) -> str | None:
    return fields.get_text(record, ("dialogue_id",))


def _is_written_turn(record: Mapping[str, Any]) -> bool:
    needed = (("dialogue_id",), ("turn",), ("role",), fields.TEXT)
    return all(fields.get_text(record, names) is not None for names in needed)


def _default_id(record: Mapping[str, Any], audio: str | None, offset: int, length: int | None) -> str:
    """Return an id for a row without one."""
    if audio is None:
        return f"{record['dialogue_id']}/{record['turn']}"
    if offset == 0 and length is None:
        return audio
    return f"{audio}#{offset}+{'' if length is None else length}"


def _table_records(place: Place, *, tab: bool) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield line number and record, or the message of its fault."""
    rows = read_rows(read_lines(place), tab=tab)
    header = next(rows, None)
    if header is None:
        raise UserError(f"{place.uri}: the manifest is empty; a header and one row per utterance are needed")
    if header.fault:
        raise UserError(f"{place.uri}:{header.line}: the header cannot be read: {header.fault}")
    names = [name.strip() for name in header.values]
    if fields.first_of(AUDIO, names) is None:
        raise UserError(
            f"{place.uri}: no column with the audio's path among {', '.join(names)}; accepted names: {', '.join(AUDIO)}"
        )
    for row in rows:
        yield row.line, row.fault or dict(zip(names, row.values, strict=True))


def _json_records(place: Place) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for line in read_lines(place):
        if line.fault or line.text.strip():
            yield line.number, line.fault or parse_object(line.text)
