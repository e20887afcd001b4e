"""Spoken dialogues in JSON or JSONL, the format of EchoX's datasets: records with a list of turns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers.base import BadItem, Item, Reader, Reads, Task
from pipelines.readers.json_stream import BrokenJsonError, read_elements, read_object_lines
from pipelines.readers.places import LEADS_OUT, AbsentFileError, Place
from pipelines.readers.rows import fields
from pipelines.readers.rows.channels import get_channel
from pipelines.readers.rows.names import ColumnCheck, without
from pipelines.readers.rows.paths import locate
from pipelines.readers.rows.rights import Rights, get_rights
from pipelines.readers.rows.times import WHOLE, are_cut, get_segment, look_ahead
from pipelines.readers.rows.turns import (
    AUDIO,
    PLACEHOLDER,
    ROLE,
    TEXT,
    TURNS,
    audio_of,
    text_of,
    turns_with_audio,
    with_audio,
)

DIALOGUE_ID = ("id", "dialogue_id", "conversation_id", "conv_id")


class ConversationReader(Reader):
    """Dialogues of a `.json` or `.jsonl` file, or of every such file below a folder.

    An unpacked shard of EchoX-Dialogues-Plus is a folder with `data.json`, an array of
    `{"id": ..., "conversations": [{"from": "human", "value": "...", "audio": "..."}, ...]}`, and the audio files
    beside it.

    | field | accepted names |
    |---|---|
    | dialogue's id | id, dialogue_id, conversation_id, conv_id; default: `<file's stem>-<position>` |
    | list of turns | conversations, conversation, messages, turns, dialogue |
    | turn's role | from, role, speaker: user or human; assistant, gpt, bot or model; system |
    | turn's text | value, content, text, transcript |
    | turn's audio, a path or `{"path": ...}` | audio, audio_path, path, wav, audpath; none = written turn |
    | turn's segment of the audio | start or offset, end, duration, in seconds or the unit in the name |
    | dialogue's audio, a path, `{"path": ...}` or a list of them | the names of a turn's audio |
    | of turn or dialogue | language (lang, locale), speaker_id (client_id); licence, attribution, consent, source_url |
    | of the dialogue | split |

    A system turn is context: it becomes no utterance and does not count in `turn`. A bad turn is a reject and counts,
    so its neighbours keep their positions. Utterance ids are `<dataset>/<dialogue>/<turn>`.

    The dialogue's audio is that of the turns whose text holds `<audio>`, in order, or of all turns if each states its
    segment of it; it is not read where turns have audio of their own. A dialogue whose audio belongs to no turn, or
    without a turn, is a reject.

    Below a folder, where ids may repeat between files, the id of a dialogue is
    `<file's path below the folder, without extension>/<id>`. A file with broken JSON is rejected on its own.
    """

    reads: ClassVar[Reads] = "file or folder"
    kind: Literal["conversation"] = "conversation"
    """Spoken dialogues in JSON or JSONL."""
    task: Task = "sqa"
    """Task of the utterances."""
    audio_dir: ConfigPath | None = None
    """Folder that relative audio paths start from; default: that of the JSON file."""
    ignore_columns: tuple[str, ...] = ()
    """Fields of turns and dialogues to read as if they were not there."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the turns in the order of the files.

        Raises:
            UserError: the file or folder cannot be read or has no dialogue file.
        """
        root = Place.of(self.path)
        if not root.is_folder():
            yield from self._file(root, root.name)
            return
        names = [entry.name for entry in root.files() if entry.name.endswith((".json", ".jsonl"))]
        if not names:
            raise UserError(f"{root.uri}: no .json or .jsonl file in this folder")
        for name in names:
            place = root.child(name)
            if self.outside(place.uri):
                yield self.bad(place.uri, "outside", LEADS_OUT)
                continue
            try:
                yield from self._file(place, name, f"{_stem(name)}/")
            except AbsentFileError as error:
                yield self.bad(place.uri, "missing", str(error))
            except BrokenJsonError as error:
                yield self.bad(place.uri, "corrupt", str(error))

    def _file(self, place: Place, name: str, prefix: str = "") -> Iterator[Item | BadItem]:
        """Yield the turns of one file; `prefix` precedes the ids of its dialogues."""
        base = Place.of(self.audio_dir) if self.audio_dir else place.parent
        records = self._records(place)
        head, records = look_ahead(records)
        cut = are_cut(self.inner(turns_with_audio((record for _, record in head), base)))
        for position, (source, record) in enumerate(records):
            if isinstance(record, str):
                yield self.bad(source, "bad_row", record)
                continue
            try:
                own = fields.get_text(record, DIALOGUE_ID)
                dialogue = f"{_stem(name)}-{position}" if own is None else prefix + own
                yield from self._dialogue(
                    record, _Setting(base, source, dialogue, self._shared(record), get_rights(record), cut)
                )
            except ValueError as error:
                yield self.bad(source, "bad_row", str(error))

    def _records(self, place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Yield the position of each record, and the record without ignored fields or the message of its fault.

        Raises:
            UserError: a field of a turn is not understood, or one of the dialogue that looks like rights on it.
        """
        check = ColumnCheck(place.uri, TEXT)
        for source, record in read_object_lines(place) if place.name.endswith(".jsonl") else read_elements(place):
            if isinstance(record, str):
                yield source, record
                continue
            record = without(record, self.ignore_columns)
            check.rights(record)
            key = fields.first_of(TURNS, record)
            if key and isinstance(record[key], list):
                record[key] = [self._known(turn, check) for turn in record[key]]
            yield source, record

    def _known(self, turn: Any, check: ColumnCheck) -> Any:
        if isinstance(turn, Mapping):
            turn = without(cast("Mapping[str, Any]", turn), self.ignore_columns)
            check(turn)
        return turn

    def _dialogue(self, record: Mapping[str, Any], setting: "_Setting") -> Iterator[Item | BadItem]:
        """Yield the turns of a dialogue.

        Raises:
            ValueError: the record has no turn, or audio that belongs to none.
        """
        key = fields.first_of(TURNS, record)
        turns = record[key] if key else None
        if not isinstance(turns, list):
            raise ValueError(f"no list of turns: one of the fields {', '.join(TURNS)} must hold it")
        position = 0
        for turn in with_audio(record, cast("list[Any]", turns)):
            try:
                item = self._turn(turn, setting, position)
            except ValueError as error:
                where, name = f"{setting.source}, turn {position}", f"{setting.dialogue}/{position}"
                item = self.bad(where, "bad_row", str(error), name, dialogue=setting.dialogue)
            if item is not None:
                yield item
                position += 1
        if not position:
            raise ValueError("the dialogue has no turn of a user or an assistant")

    def _shared(self, record: Mapping[str, Any]) -> dict[str, str | None]:
        return {
            "split": fields.get_text(record, ("split",)) or self.split,
            "language": fields.get_text(record, fields.LANGUAGE) or self.language,
            "speaker_id": fields.get_text(record, ("speaker_id", "client_id")),
        }

    def _turn(self, turn: Any, setting: "_Setting", position: int) -> Item | None:
        """Return the turn's utterance; None for a system turn.

        Raises:
            ValueError: the turn has neither text nor audio, no valid role, or no valid segment.
        """
        if not isinstance(turn, Mapping):
            raise ValueError(f"a turn must be a JSON object, not {str(turn)[:80]!r}")
        turn = cast("Mapping[str, Any]", turn)
        role = fields.get_role(turn, ROLE)
        if role is None:
            raise ValueError(f"no role: one of the fields {', '.join(ROLE)} must state who speaks")
        if role == "system":
            return None
        audio, text = audio_of(turn), text_of(turn)
        if text and PLACEHOLDER.fullmatch(text):
            text = None
        if audio is None and text is None:
            raise ValueError(f"neither text ({', '.join(TEXT)}) nor audio ({', '.join(AUDIO)})")
        place, size = locate(audio, setting.base) if audio else (None, None)
        segment = get_segment(turn) if audio and not setting.cut else WHOLE
        return Item(
            utterance_id=f"{self.dataset}/{setting.dialogue}/{position}",
            dataset=self.dataset,
            uri=place.uri if place else None,
            size=size,
            offset_samples=segment.offset,
            num_samples=segment.length,
            native=segment.native,
            channel=get_channel(turn),
            split=setting.shared["split"],
            task=self.task,
            language=fields.get_text(turn, fields.LANGUAGE) or setting.shared["language"],
            speaker_id=fields.get_text(turn, ("speaker_id", "client_id")) or setting.shared["speaker_id"],
            text=text,
            dialogue_id=setting.dialogue,
            turn=position,
            role=role,
            **get_rights(turn, setting.rights),
        )


@dataclass(frozen=True)
class _Setting:
    """Facts that the turns of a dialogue have in common.

    Attributes:
        base: folder of relative audio paths.
        source: position of the record.
        dialogue: id of the dialogue.
        shared: facts that the record states for its turns.
        rights: facts about rights that the record states for its turns.
        cut: the audio files are the turns themselves, whatever times are stated.
    """

    base: Place
    source: str
    dialogue: str
    shared: Mapping[str, str | None]
    rights: Rights
    cut: bool


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
