"""Predict the rows that `ingest` makes of entries, without reading the audio of most of them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import cast

from pipelines.engine.step import WorkUnit
from pipelines.entries.entries import OF_THE_LISTING
from pipelines.entries.roots import Roots, absolute
from pipelines.readers.base import Item
from pipelines.records import IngestPayload, UtteranceRow, dataset_counts
from pipelines.sources.audio_files import audio_source, measure
from pipelines.sources.planning import GUESSED_SECONDS_PER_ITEM
from pipelines.sources.taking_over import TakenRows
from pipelines.steps.ingest import suppressed_channels
from storage.receipts import Receipt
from storage.store import Store
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE

MEASURED = 16
"""Files of a new dataset whose headers are read."""


@dataclass
class PredictedRows:
    """Rows of a work unit.

    Attributes:
        rows: with the fields that lengths and dialogues depend on.
        assumed: ids of the rows whose audio is yet to be read.
        rejects: keys of the entries that are known to be rejects, one for each reject.
    """

    rows: list[UtteranceRow] = field(default_factory=list[UtteranceRow])
    assumed: set[str] = field(default_factory=set[str])
    rejects: list[str] = field(default_factory=list[str])


class Lengths:
    """Lengths of entries: as the source states them, or the mean of their dataset so far.

    Of a dataset that the version lacks, the headers of the first entries are read.

    Args:
        receipts: receipts of `ingest` of the last version.

    Attributes:
        estimated: number of entries whose length is a mean.
    """

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        self.estimated = 0
        self._measured: dict[str, list[int]] = {}
        totals: dict[str, tuple[int, int]] = {}
        for name, counts in dataset_counts(receipts):
            samples, utterances = totals.get(name, (0, 0))
            totals[name] = samples + counts["samples"], utterances + counts["utterances"]
        self._means = {name: samples // utterances for name, (samples, utterances) in totals.items() if utterances}

    def rows(self, store: Store, work_unit: WorkUnit[IngestPayload]) -> PredictedRows:
        """The rows of a work unit; those of unchanged entries are taken from the last version.

        Raises:
            StorageError: the store cannot be read.
        """
        payload = work_unit.payload
        taken = TakenRows.of(store, "ingest", payload.get("taken", ()), payload.get("roots", {}))
        lines = [json.loads(line) for line in store.get(payload["path"]).splitlines()]
        suppressed = suppressed_channels(lines)
        made = PredictedRows()
        for line in lines:
            key = bytes.fromhex(line["key"])
            if line["kind"] == "bad":
                made.rejects.append(line["key"])
            elif key in taken.rows or key in taken.rejects:
                made.rows += [row for row in taken.rows.get(key, ()) if row["utterance_id"] not in suppressed]
                rejects = [one for one in taken.rejects.get(key, ()) if one.utterance_id not in suppressed]
                made.rejects += [line["key"]] * len(rejects)
            elif renamed := taken.renamed(line):
                made.rows += renamed
            else:
                row = self._assumed(Item(**line["item"]), payload.get("roots", {}))
                made.rows.append(row)
                made.assumed.add(row["utterance_id"])
        return made

    def _assumed(self, item: Item, roots: Roots) -> UtteranceRow:
        values = {name: value for name, value in asdict(item).items() if name not in OF_THE_LISTING}
        values |= {"channel": item.channel if isinstance(item.channel, int) else None, "source_key": bytes(16)}
        if item.uri is None:
            return cast(UtteranceRow, {**values, "audio": None, "num_samples": 0})
        known = None if item.native else item.num_samples
        uri = absolute(item.uri, roots.get(item.dataset), item.dataset)
        length = known or self._measure(item.dataset, uri) or self._mean(item.dataset)
        return cast(UtteranceRow, {**values, "audio": {"uri": item.uri, "bytes": None}, "num_samples": length})

    def _measure(self, dataset: str, uri: str) -> int | None:
        """Length of an audio file, if it is one of the first of a new dataset and can be read."""
        measured = self._measured.setdefault(dataset, [])
        if dataset in self._means or len(measured) >= MEASURED:
            return None
        try:
            measured.append(measure(audio_source(uri))[1])
        except AudioError:
            return None
        return measured[-1]

    def _mean(self, dataset: str) -> int:
        self.estimated += 1
        if measured := self._measured.get(dataset):
            return sum(measured) // len(measured)
        return self._means.get(dataset, int(GUESSED_SECONDS_PER_ITEM * SAMPLE_RATE))
