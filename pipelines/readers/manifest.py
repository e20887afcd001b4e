"""A manifest: one row per utterance in a CSV, TSV or JSONL file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers.base import BadItem, Item, Reader, Reads, Task
from pipelines.readers.json_stream import read_records
from pipelines.readers.lines import read_lines
from pipelines.readers.places import Place
from pipelines.readers.rows import fields
from pipelines.readers.rows.channels import get_channel
from pipelines.readers.rows.delimited import is_quoted, read_rows
from pipelines.readers.rows.names import ColumnCheck, spelled, without
from pipelines.readers.rows.paths import locate
from pipelines.readers.rows.rights import get_rights
from pipelines.readers.rows.times import OLD_NAMES, Segment, are_cut, get_segment, look_ahead
from pipelines.readers.rows.turns import in_dialogues

AUDIO = ("audio", "path", "wav", "audio_path", "audio_filepath", "file")
"""Names of the field with the audio's path; the first one present counts."""


class ManifestReader(Reader):
    """The rows of a `.csv` or `.tsv` file with a header, or of a `.jsonl` or `.json` file (Common Voice, NeMo, ...).

    | field | accepted names |
    |---|---|
    | audio, a path or `{"path": ...}` | `audio_column`, or audio, path, wav, audio_path, audio_filepath, file |
    | text | `text_column`, or text, sentence, transcription, transcript, normalized_text |
    | id | `id_column`, or id, utterance_id, utt_id; default: the audio's path, `#<offset>+<samples>` for a segment |
    | segment | start or offset, end, duration, in seconds or the unit in the name; default: the whole file |
    | channel, from 0; or left, right, a, b | channel, chan, ch |
    | speaker | speaker, speaker_id, client_id |
    | language | language, lang, locale |
    | licence, attribution, consent, source_url | license, rights, credit, url, ...: see `rows.rights` |
    | under their own names | split, task, dataset, dialogue_id, turn (counted from 0), role |

    Other columns are ignored, unless they look like a time, a channel or the text: these are an error. A row without
    audio is a written turn if it has text, dialogue_id, turn and role. A row with a dialogue_id has the task sqa,
    unless it or the source states another. The rows of a dialogue must be consecutive. Where they have no `turn`, their
    order counts, and a broken row between them is a turn too.
    """

    reads: ClassVar[Reads] = "file"
    kind: Literal["manifest"] = "manifest"
    """CSV, TSV or JSONL file, or JSON array, with one row per utterance."""
    audio_dir: ConfigPath | None = None
    """Folder that relative audio paths start from; default: that of the manifest."""
    audio_column: str | None = None
    """Column of the audio's path; default: audio, path, wav, audio_path, audio_filepath or file."""
    text_column: str | None = None
    """Column of the text; default: text, sentence, transcription, transcript or normalized_text."""
    id_column: str | None = None
    """Column of the id; default: id, utterance_id or utt_id."""
    ignore_columns: tuple[str, ...] = ()
    """Columns to read as if they were not there."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the rows in the order of the file.

        Raises:
            UserError: the file cannot be read, has another extension, is empty, or has no column of audio paths.
        """
        place = Place.of(self.path)
        base = Place.of(self.audio_dir) if self.audio_dir else place.parent
        head, rows = look_ahead(self._checked(place, self._records(place)))
        told = ((record, self._uri(record, base)) for _, record in head if not isinstance(record, str))
        cut = are_cut(self.inner(told), OLD_NAMES)
        yield from in_dialogues(self._entry(source, record, base, cut) for source, record in rows)

    def _entry(self, source: str, record: Mapping[str, Any] | str, base: Place, cut: bool) -> Item | BadItem:
        try:
            return self._item(record, base, cut)
        except ValueError as error:
            return self._bad(record, source, str(error))

    def _records(self, place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
        suffix = place.name.removesuffix(".gz").rpartition(".")[2].lower()
        if suffix in ("csv", "tsv"):
            return _table_records(place, self._names("audio", AUDIO), tab=suffix == "tsv")
        if suffix in ("jsonl", "ndjson", "json"):
            return _json_records(place)
        raise UserError(f"{place.uri}: a manifest must be a .csv, .tsv, .jsonl or .json file")

    def _checked(
        self, place: Place, records: Iterable[tuple[str, dict[str, Any] | str]]
    ) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Yield the records without ignored columns.

        Raises:
            UserError: a column is not understood, or one that the config names is absent.
        """
        named = (self.audio_column, self.text_column, self.id_column)
        check = ColumnCheck(place.uri, self._names("text", fields.TEXT), "`text_column: {}`", named)
        for source, record in records:
            if not isinstance(record, str):
                record = without(record, self.ignore_columns)
                check(record)
            yield source, record
        check.finish()

    def _names(self, what: Literal["audio", "text", "id"], accepted: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names that a column may have: the one of the config, or all usual ones."""
        column = {"audio": self.audio_column, "text": self.text_column, "id": self.id_column}[what]
        return (column,) if column else accepted

    def _audio(self, record: Mapping[str, Any]) -> str | None:
        return fields.get_path(record, spelled(self._names("audio", AUDIO), record))

    def _text(self, record: Mapping[str, Any]) -> str | None:
        return fields.get_text(record, spelled(self._names("text", fields.TEXT), record))

    def _uri(self, record: Mapping[str, Any], base: Place) -> str | None:
        try:
            audio = self._audio(record)
            return locate(audio, base)[0].uri if audio else None
        except ValueError:  # the row is a reject
            return None

    def _item(self, record: Mapping[str, Any] | str, base: Place, cut: bool) -> Item:
        """Return the utterance of a row; `cut` says that columns of times beyond the old ones mean other recordings.

        Raises:
            ValueError: the row is no utterance; the message names the field.
        """
        if isinstance(record, str):
            raise ValueError(record)
        audio, text = self._audio(record), self._text(record)
        if audio is None and not _is_written_turn(record, text):
            raise ValueError(f"no audio: one of the fields {', '.join(self._names('audio', AUDIO))} must hold a path")
        segment = get_segment(record, OLD_NAMES if cut else None)
        dataset = self._dataset(record)
        channel = get_channel(record)
        name = fields.get_text(record, self._names("id", fields.ID)) or _default_id(record, audio, segment, channel)
        place, size = locate(audio, base) if audio else (None, None)
        return Item(
            utterance_id=f"{dataset}/{name}",
            dataset=dataset,
            uri=place.uri if place else None,
            size=size,
            offset_samples=segment.offset,
            num_samples=segment.length,
            native=segment.native,
            channel=channel,
            split=fields.get_text(record, ("split",)) or self.split,
            task=self._task(record),
            language=fields.get_text(record, fields.LANGUAGE) or self.language,
            speaker_id=fields.get_text(record, fields.SPEAKER),
            text=text,
            dialogue_id=_dialogue(record),
            turn=fields.get_count(record, "turn"),
            role=fields.get_role(record, ("role",)),
            **get_rights(record),
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


def _is_written_turn(record: Mapping[str, Any], text: str | None) -> bool:
    return text is not None and all(
        fields.get_text(record, (name,)) is not None for name in ("dialogue_id", "turn", "role")
    )


def _default_id(record: Mapping[str, Any], audio: str | None, segment: Segment, channel: int | None) -> str:
    """Return an id for a row without one."""
    of_channel = "" if channel is None else f"#channel{channel}"
    if audio is None:
        return f"{record['dialogue_id']}/{record['turn']}"
    if segment.offset == 0 and segment.length is None:
        return f"{audio}{of_channel}"
    return f"{audio}{of_channel}#{segment.offset}+{'' if segment.length is None else segment.length}"


def _table_records(place: Place, accepted: tuple[str, ...], *, tab: bool) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield position and record, or the message of its fault."""
    quoted = not tab or is_quoted(read_lines(place))
    rows = read_rows(read_lines(place), "\t" if tab else ",", quoted=quoted)
    header = next(rows, None)
    if header is None:
        raise UserError(f"{place.uri}: the manifest is empty; a header and one row per utterance are needed")
    if header.fault:
        raise UserError(f"{place.uri}:{header.line}: the header cannot be read: {header.fault}")
    names = [name.strip() for name in header.values]
    if not spelled(accepted, names):
        other = " (LJSpeech's metadata.csv is a source of the kind `ljspeech`)" if "|" in ",".join(names) else ""
        raise UserError(
            f"{place.uri}: no column with the audio's path among {', '.join(names)}; accepted names: "
            f"{', '.join(accepted)}; `audio_column` in this source names another one{other}"
        )
    for row in rows:
        yield f"{place.uri}:{row.line}", row.fault or dict(zip(names, row.values, strict=True))


def _json_records(place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield position and object, or the message of its fault, of JSON lines or of an array.

    Raises:
        UserError: the file holds one object over several lines, or objects of lhotse.
    """
    for number, (source, record) in enumerate(read_records(place)):
        if number == 0 and isinstance(record, dict) and _is_lhotse(record):
            raise UserError(f"{place.uri}: this is a manifest of lhotse; it is a source of the kind `lhotse`")
        yield source, record


def _is_lhotse(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("recording"), dict) or isinstance(record.get("sources"), list)
