"""Manifests of lhotse: cuts or recordings, one JSON object a line."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

from pipelines.errors import UserError
from pipelines.paths import ConfigPath
from pipelines.readers.base import BadItem, Item, Reader, Reads
from pipelines.readers.json_stream import read_records
from pipelines.readers.places import Place
from pipelines.readers.rows import fields
from pipelines.readers.rows.names import ColumnCheck, without
from pipelines.readers.rows.paths import locate
from pipelines.readers.rows.rights import Rights, get_rights
from pipelines.readers.rows.times import Segment, get_segment


class LhotseReader(Reader):
    """A `.jsonl`, `.jsonl.gz` or `.json` file of lhotse's cuts (with their recordings), or of its recordings.

    Every supervision of a cut is an utterance, with its text, language and speaker; a cut without supervisions is one
    without text, and so is a recording. Utterance ids are `<dataset>/<id of supervision, cut or recording>`. These are
    rejects: mixed and padding cuts, cuts without a recording, recordings with transforms other than resampling, audio
    that is no file, and some of the channels of a file.
    """

    reads: ClassVar[Reads] = "file"
    kind: Literal["lhotse"] = "lhotse"
    """Cuts or recordings of lhotse."""
    audio_dir: ConfigPath | None = None
    """Folder that relative audio paths start from; default: that of the manifest."""
    ignore_columns: tuple[str, ...] = ()
    """Fields of `custom` to read as if they were not there."""

    def read(self) -> Iterator[Item | BadItem]:
        """List the utterances in the order of the file.

        Raises:
            UserError: the file cannot be read, or holds supervisions without their recordings, or a field of `custom`
                looks like rights and is not understood.
        """
        place = Place.of(self.path)
        base = Place.of(self.audio_dir) if self.audio_dir else place.parent
        check = ColumnCheck(place.uri, ())
        for source, record in read_records(place):
            if isinstance(record, str):
                yield self.bad(source, "bad_row", record)
                continue
            if "recording_id" in record and "sources" not in record:
                raise UserError(
                    f"{source}: a supervision without its recording; write cuts with `lhotse cut simple -r RECORDINGS "
                    "-s SUPERVISIONS CUTS`, and name their file"
                )
            known = self._known(record, check)
            try:
                yield from self._record(known, base, source)
            except ValueError as error:
                yield self.bad(source, "bad_row", str(error))

    def _known(self, record: Mapping[str, Any], check: ColumnCheck) -> Mapping[str, Any]:
        """The record with those fields of `custom`, its own and those of its supervisions, that are not ignored.

        Raises:
            UserError: such a field is not understood.
        """
        known = dict(record)
        if isinstance(custom := record.get("custom"), Mapping):
            known["custom"] = without(cast("Mapping[str, Any]", custom), self.ignore_columns)
            check.rights(known["custom"])
        if isinstance(parts := record.get("supervisions"), list):
            known["supervisions"] = [
                self._known(cast("Mapping[str, Any]", part), check) if isinstance(part, Mapping) else part
                for part in cast("list[Any]", parts)
            ]
        return known

    def _record(self, record: Mapping[str, Any], base: Place, source: str) -> Iterator[Item | BadItem]:
        if isinstance(record.get("sources"), list):
            yield self._item(base, record, record, None, Segment(), _rights(record))
            return
        recording, cut = _recording(record), get_segment(record, ("start", "duration"))
        supervisions = _objects(record, "supervisions")
        if not supervisions:
            yield self._item(base, record, recording, record.get("channel"), cut, _rights(record))
        for part in supervisions:
            try:
                segment = _inside(part, cut.offset)
                channel = part.get("channel", record.get("channel"))
                yield self._item(base, part, recording, channel, segment, _rights(part, record))
            except ValueError as error:
                name = part.get("id")
                yield self.bad(source, "bad_row", str(error), name if isinstance(name, str) else None)

    def _item(
        self,
        base: Place,
        described: Mapping[str, Any],
        recording: Mapping[str, Any],
        channel: Any,
        segment: Segment,
        rights: Rights,
    ) -> Item:
        """Return the utterance of a supervision, cut or recording.

        Raises:
            ValueError: it has no id, or its audio cannot be read.
        """
        name = fields.get_text(described, ("id",))
        if name is None:
            raise ValueError("the field 'id' is missing")
        path, channel_in_file = _audio(recording, channel)
        place, size = locate(path, base)
        return Item(
            utterance_id=f"{self.dataset}/{name}",
            dataset=self.dataset,
            uri=place.uri,
            size=size,
            offset_samples=segment.offset,
            num_samples=segment.length,
            channel=channel_in_file,
            split=self.split,
            task=self.task,
            language=fields.get_text(described, ("language",)) or self.language,
            speaker_id=fields.get_text(described, ("speaker",)),
            text=fields.get_text(described, ("text",)),
            **rights,
        )


def _rights(*records: Mapping[str, Any]) -> Rights:
    """Return what supervision and cut say of the rights on the recording, also in lhotse's field `custom`."""
    customs = ((record, record.get("custom")) for record in records)
    return get_rights(*(part for pair in customs for part in pair if isinstance(part, Mapping)))


def _inside(supervision: Mapping[str, Any], start: int) -> Segment:
    """Return the segment of a supervision of a cut that starts at a sample; it may begin before its cut.

    Raises:
        ValueError: its times are invalid.
    """
    relative = supervision.get("start")
    sign = -1 if isinstance(relative, int | float) and relative < 0 else 1
    distance = abs(relative) if isinstance(relative, int | float) else relative
    segment = get_segment({**supervision, "start": distance}, ("start", "duration"))
    offset = start + sign * segment.offset
    if offset < 0:
        raise ValueError(f"the supervision begins {-offset} samples before its recording")
    return Segment(offset, segment.length)


def _recording(cut: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the recording of a cut.

    Raises:
        ValueError: the cut has none, or is a mixture.
    """
    if cut.get("type") in ("MixedCut", "PaddingCut") or "tracks" in cut:
        raise ValueError("mixed and padding cuts are not read; write their audio to files with `CutSet.save_audios`")
    recording = cut.get("recording")
    if not isinstance(recording, Mapping):
        raise ValueError("the cut has no recording; the manifest must hold it")
    return cast("Mapping[str, Any]", recording)


def _audio(recording: Mapping[str, Any], channel: Any) -> tuple[str, int | None]:
    """Return path or URL of a recording's audio, and the wanted channel in that file; None = all.

    Raises:
        ValueError: it is not a file, is transformed when loaded, or the wanted channels are several of more.
    """
    if any(transform.get("name") != "Resample" for transform in _objects(recording, "transforms")):
        raise ValueError("lhotse transforms the recording when it loads it; write its audio with `CutSet.save_audios`")
    wanted = channel if isinstance(channel, list) else [channel]
    sources = _objects(recording, "sources")
    if len(sources) > 1:
        sources = [source for source in sources if _holds(source.get("channels"), wanted)]
    if len(sources) != 1:
        raise ValueError(f"{len(sources)} sources hold the channels {wanted}; one file must hold them")
    if sources[0].get("type") not in ("file", "url"):
        raise ValueError(f"audio of the type {sources[0].get('type')!r} is not read; known are file and url")
    path = fields.get_text(sources[0], ("source",))
    if path is None:
        raise ValueError("the field 'source' of the recording is missing")
    held = sources[0].get("channels")
    if channel is None or not isinstance(held, list) or held == wanted:
        return path, None
    if len(wanted) != 1 or wanted[0] not in held:
        raise ValueError(f"channels {wanted} of a file with the channels {held}; one of them, or all, can be read")
    return path, held.index(wanted[0])


def _holds(held: Any, wanted: Sequence[Any]) -> bool:
    """Return whether a source has the wanted channels, all of its own or one of several."""
    return held == wanted or (isinstance(held, list) and len(wanted) == 1 and wanted[0] in held)


def _objects(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list field; none if there is no such field.

    Raises:
        ValueError: the field is no list of objects.
    """
    value = record.get(name) or []
    if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in cast("list[Any]", value)):
        raise ValueError(f"field {name!r} is not a list of objects")
    return cast("list[Mapping[str, Any]]", value)
