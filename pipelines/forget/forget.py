"""Forget speech: suppress it for all builds to come, and commit a version without it.

The suppression list is written first. If the program is killed after that, the same command or the next build of the
corpus makes the version.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.console import Console

from pipelines.build.commit import Built, finish
from pipelines.config.build import BuildConfig
from pipelines.engine.build_step import TableStep
from pipelines.engine.session import Session
from pipelines.engine.state import BuildState, EntryChanges
from pipelines.errors import UserError
from pipelines.forget.survey import Found, Survey, Units, survey
from pipelines.forget.wanted import Wanted
from pipelines.records import new_names_of, suppression_of
from pipelines.steps import steps
from storage.collecting.marks import at_work
from storage.errors import StorageError
from storage.store import Store
from storage.suppression.lists import Suppressed, digest_of, put_list
from storage.suppression.merged import Suppression
from storage.versions import Version, latest
from unitlang.frames import SAMPLE_RATE


@dataclass(frozen=True)
class Forgotten:
    """Speech that was forgotten.

    Attributes:
        store: URI of the store.
        utterances: number of utterances, in all versions together; rejected entries do not count.
        rejected: number of rejected entries.
        unknown: number of given ids that no version has; they are suppressed too.
        seconds: length of the utterances.
        versions: numbers of the versions that hold them.
        shards: paths of the training files that hold them.
        models: names of the trained models that learnt from them.
        new_list: name of the suppression list that was written; None if all was suppressed before.
        built: the version without them, and whether it is new.
    """

    store: str
    utterances: int
    rejected: int
    unknown: int
    seconds: float
    versions: Sequence[int]
    shards: Sequence[str]
    models: Sequence[str]
    new_list: str | None
    built: Built


def forget(uri: str, wanted: Wanted, reason: str, console: Console) -> Forgotten:
    """Suppress utterances, and commit a version without them, made from the store alone.

    Doing it twice is doing it once.

    Args:
        uri: folder or s3:// URL of the corpus.
        wanted: which utterances.
        reason: why; it is kept in the store.
        console: shows the progress.

    Raises:
        UserError: nothing is meant, several speakers may be, or nothing would be left.
        StorageError: the store cannot be read or written, or another build committed first.
    """
    store, version = opened(uri)
    wanted = replace(wanted, new_names=new_names_of(version))
    with console.status("looking for the speech in all versions"):
        units = Units.of(store)
        found = survey(store, units, wanted)
        _check(store, version, wanted, found)
    unknown = wanted.unknown(one.name for one in found.found)
    digests = [*found.suppressed(), *(Suppressed(id=digest_of(name)) for name in unknown)]
    new = Suppression.of(store).lacks(digests)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with at_work(store):
        name = put_list(store, reason, now, new) if new else None
        built = without_suppressed(store, version, console)
    once = {(wanted.id_now(one.name), one.digests.content): one for one in found.found}.values()
    utterances = [one for one in once if one.row]
    return Forgotten(
        store.uri,
        len(utterances),
        len(once) - len(utterances),
        len(unknown),
        sum(one.samples for one in utterances) / SAMPLE_RATE,
        found.versions,
        found.shards,
        found.models,
        name,
        built,
    )


def opened(uri: str) -> tuple[Store, Version]:
    """Open a store with its last version.

    Raises:
        StorageError: there is no store, or it has no version.
    """
    version = latest(store := Store.open(uri))
    if version is None:
        raise StorageError(f"{store.uri} has no corpus version yet; finish one with `echox build`")
    return store, version


def without_suppressed(store: Store, parent: Version, console: Console) -> Built:
    """Commit a version without what is suppressed, from the files of the last version; its sources are not listed.

    Raises:
        UserError: nothing would be left.
        StorageError: the store cannot be read or written, or another build committed first.
    """
    if {*suppression_of(parent)} == {*Suppression.of(store).lists}:
        return Built(parent, False, EntryChanges())
    config = BuildConfig.model_validate({**parent.config, "store": store.uri, "max_reject_ratio": 1.0})
    with Session(store, config.run, None, console) as session:
        state = BuildState(
            config,
            session,
            parent,
            artifacts=dict(parent.artifacts),
            specs=dict(parent.lineage["specs"]),
            listed=False,
        )
        for name, step in steps().items():
            if issubclass(step, TableStep) and name in parent.steps:
                step.run(state)
        return finish(state)


def _check(store: Store, version: Version, wanted: Wanted, found: Survey) -> None:
    """Refuse to forget nothing, everything, or more than one person."""
    if not found.by_unit and wanted.ids is None:
        raise UserError(f"{store.uri}: no version has an utterance of {wanted}; nothing is forgotten")
    if wanted.speaker is not None and wanted.dataset is None and wanted.ids is None:
        _check_one_person(wanted, found.found)
    names = {receipt.fingerprint for receipt in version.steps["ingest"]}
    gone = sum(one.row for name, of_unit in found.by_unit.items() if name in names for one in of_unit)
    if gone and gone == sum(receipt.rows_out for receipt in version.steps["ingest"]):
        raise UserError(f"{version.uri}: nothing would be left of it; remove the whole store instead: {store.uri}")


def _check_one_person(wanted: Wanted, found: Sequence[Found]) -> None:
    counts = Counter(wanted.dataset_now(one.dataset) for one in found if one.row)
    if len(counts) > 1:
        named = ", ".join(f"{dataset} ({count:,})" for dataset, count in sorted(counts.items()))
        raise UserError(
            f"--speaker {wanted.speaker}: the datasets {named} have a speaker of this name, perhaps several persons; "
            "add --dataset, once for each that is meant"
        )
