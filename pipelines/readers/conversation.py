"""Spoken dialogues in JSON or JSONL, the format of EchoX's datasets: records with a list of turns."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, cast

from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers.base import BadItem, Item, Reader, Reads, Task
from pipelines.readers.json_stream import BrokenJsonError, read_values
from pipelines.readers.lines import parse_object, read_lines
from pipelines.readers.places import AbsentFileError, Place
from pipelines.readers.rows import fields

TURNS = ("conversations", "conversation", "messages", "turns", "dialogue")
DIALOGUE_ID = ("id", "dialogue_id", "conversation_id", "conv_id")
ROLE = ("from", "role", "speaker")
TEXT = ("value", "content", "text", "transcript")
AUDIO = ("audio", "audio_path", "path", "wav", "audpath")


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
    | of turn or dialogue | language (lang, locale), speaker_id (client_id) |
    | of the dialogue | split |

    A system turn is context: it becomes no utterance and does not count in `turn`. A bad turn is a reject and counts,
    so its neighbours keep their positions. Utterance ids are `<dataset>/<dialogue>/<turn>`.

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
            try:
                yield from self._file(place, name, f"{_stem(name)}/")
            except AbsentFileError as error:
                yield self.bad(place.uri, "missing", str(error))
            except BrokenJsonError as error:
                yield self.bad(place.uri, "corrupt", str(error))

    def _file(self, place: Place, name: str, prefix: str = "") -> Iterator[Item | BadItem]:
        """Yield the turns of one file; `prefix` precedes the ids of its dialogues."""
        base = Place.of(self.audio_dir) if self.audio_dir else place.parent
        for position, (source, record) in enumerate(_records(place)):
            if isinstance(record, str):
                yield self.bad(source, "bad_row", record)
                continue
            try:
                own = fields.get_text(record, DIALOGUE_ID)
                dialogue = f"{_stem(name)}-{position}" if own is None else prefix + own
                yield from self._dialogue(record, base, source, dialogue)
            except ValueError as error:
                yield self.bad(source, "bad_row", str(error))

    def _dialogue(self, record: Mapping[str, Any], base: Place, source: str, dialogue: str) -> Iterator[Item | BadItem]:
        key = fields.first_of(TURNS, record)
        turns = record[key] if key else None
        if not isinstance(turns, list):
            raise ValueError(f"no list of turns: one of the fields {', '.join(TURNS)} must hold it")
        shared = self._shared(record)
        position = 0
        for turn in cast("list[Any]", turns):
            try:
                item = self._turn(turn, base, dialogue, position, shared)
            except ValueError as error:
                where, name = f"{source}, turn {position}", f"{dialogue}/{position}"
                item = self.bad(where, "bad_row", str(error), name, dialogue=dialogue)
            if item is not None:
                yield item
                position += 1

    def _shared(self, record: Mapping[str, Any]) -> dict[str, str | None]:
        return {
            "split": fields.get_text(record, ("split",)) or self.split,
            "language": fields.get_text(record, fields.LANGUAGE) or self.language,
            "speaker_id": fields.get_text(record, ("speaker_id", "client_id")),
        }

    def _turn(
        self, turn: Any, base: Place, dialogue: str, position: int, shared: Mapping[str, str | None]
    ) -> Item | None:
        """Return the turn's utterance; None for a system turn.

        Raises:
            ValueError: the turn has neither text nor audio, or no valid role.
        """
        if not isinstance(turn, Mapping):
            raise ValueError(f"a turn must be a JSON object, not {str(turn)[:80]!r}")
        turn = cast("Mapping[str, Any]", turn)
        role = fields.get_role(turn, ROLE)
        if role is None:
            raise ValueError(f"no role: one of the fields {', '.join(ROLE)} must state who speaks")
        if role == "system":
            return None
        audio, text = fields.get_path(turn, AUDIO), fields.get_text(turn, TEXT)
        if audio is None and text is None:
            raise ValueError(f"neither text ({', '.join(TEXT)}) nor audio ({', '.join(AUDIO)})")
        place = base.join(audio) if audio else None
        return Item(
            utterance_id=f"{self.dataset}/{dialogue}/{position}",
            dataset=self.dataset,
            uri=place.uri if place else None,
            size=place.size() if place else None,
            split=shared["split"],
            task=self.task,
            language=fields.get_text(turn, fields.LANGUAGE) or shared["language"],
            speaker_id=fields.get_text(turn, ("speaker_id", "client_id")) or shared["speaker_id"],
            text=text,
            dialogue_id=dialogue,
            turn=position,
            role=role,
        )


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _records(place: Place) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Yield the position of each record, and the record or the message of its fault."""
    if place.name.endswith(".jsonl"):
        for line in read_lines(place):
            if line.fault or line.text.strip():
                yield f"{place.uri}:{line.number}", line.fault or parse_object(line.text)
        return
    for position, value in enumerate(read_values(place)):
        known = isinstance(value, dict)
        record = cast("dict[str, Any]", value) if known else f"not a JSON object: {str(value)[:80]!r}"
        yield f"{place.uri}[{position}]", record
