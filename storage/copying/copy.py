"""Copy corpus versions from one store to another, whole or not at all."""

from collections.abc import Iterator, Sequence
from functools import partial

from storage.approvals import approval_path
from storage.artifacts import digest, get_artifact, put_artifact
from storage.copying.plan import CopyPlan, VersionPlan, check_same
from storage.errors import AlreadyExists, NotFound, damaged, remedy
from storage.lists.files import list_path
from storage.models import ModelCard, card_path, find_model, model_names
from storage.receipts import DataFile
from storage.store import Store
from storage.suppression.lists import list_names
from storage.suppression.lists import list_path as suppression_path
from storage.uris import split_version
from storage.verify import in_threads
from storage.versions import NOTE, NOTE_PATH, report_path, version_file, version_path


def copy_versions(plan: CopyPlan) -> Iterator[DataFile]:
    """Copy versions, one after the other; yield each table when it is copied.

    Suppression lists come before all versions, so that no build on the copy brings withdrawn speech back.

    The tables of a version come first, then its artifacts and lists of receipts, then its file, so that a reader of the
    target sees the version when all of it is there. Its approval, report, labels and the cards of its models follow: if
    they came first and the copy ended there, they would count for another version that a build commits under the same
    number.

    Each file is compared with its recorded SHA-256 before it is written. If the copy is killed, the next one brings
    what is missing. `storage.verify.THREADS` files are in memory at a time.

    Args:
        plan: made by `plan_copy` just before; both inside `storage.collecting.marks.at_work` of the target.

    Raises:
        NotFound: the source lacks a file of a version.
        CorruptStore: a file of the source is not what was written.
        StorageError: a build committed another version to the target meanwhile; or a store does not answer or refuses.
    """
    source, target = plan.source, plan.target
    if not target.exists(NOTE_PATH):
        target.put(NOTE_PATH, NOTE)
    for name in list_names(source) - list_names(target):
        _copy_if_there(source, target, suppression_path(name))
    cards = [find_model(source, name) for name in model_names(source)]
    for version in plan.versions:
        yield from in_threads(partial(_copy_table, source, target, file) for file in version.files)
        for _ in in_threads(partial(_copy_if_there, source, target, path) for path in version.entries):
            pass
        for artifact in version.artifacts:
            files = get_artifact(source, artifact.kind, artifact.fingerprint)
            put_artifact(target, artifact.kind, artifact.fingerprint, files)
        for name in version.lists:
            _copy_checked(source, target, list_path(name), name)
        _copy_version_file(plan, version)
        _copy_companions(source, target, version, cards)


def _copy_table(source: Store, target: Store, file: DataFile) -> DataFile:
    _copy_checked(source, target, file.path, file.sha256)
    return file


def _copy_checked(source: Store, target: Store, path: str, sha256: str) -> None:
    """Copy a file after a check of its contents."""
    try:
        data = source.get(path)
    except NotFound as error:
        raise NotFound(f"{error}; {remedy(source.uri)}") from error
    if digest(data) != sha256:
        raise damaged(source.url(path), "not what was written (SHA-256 differs)", source.uri)
    target.put(path, data)


def _copy_if_there(source: Store, target: Store, path: str) -> None:
    """Copy a file that no version lists, if the source has it."""
    try:
        data = source.get(path)
    except NotFound:
        return
    target.put(path, data)


def _copy_version_file(plan: CopyPlan, version: VersionPlan) -> None:
    source, target, path = plan.source, plan.target, version_path(version.number)
    data = version_file(source, version.number)
    if digest(data) != version.sha256:
        raise damaged(source.url(path), "changed during the copy", source.uri)
    try:
        target.create(path, data)
    except AlreadyExists:
        check_same(source, target, version.number)


def _copy_companions(source: Store, target: Store, version: VersionPlan, cards: Sequence[ModelCard]) -> None:
    """Copy the approval, the report and the labels of a version, and the cards of the models trained on it."""
    number = version.number
    for path in (approval_path(number), report_path(number), *version.labels):
        if not target.exists(path):
            _copy_if_there(source, target, path)
    for card in cards:
        if split_version(card.corpus)[1] == number and _is_news(target, card):
            _copy_if_there(source, target, card_path(card.name))


def _is_news(target: Store, card: ModelCard) -> bool:
    """Whether a store has no card of this name, or one of an earlier training."""
    return not target.exists(card_path(card.name)) or find_model(target, card.name).finished < card.finished
