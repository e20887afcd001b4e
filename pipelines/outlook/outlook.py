"""Say what a build would do: its plan is made on a store that is not written, in a session that computes nothing."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.build.accounts import settled
from pipelines.build.build import first_state
from pipelines.build.commit import is_up_to_date
from pipelines.build.parent import parent_of
from pipelines.config.build import BuildConfig
from pipelines.engine.state import BuildState, EntryChanges
from pipelines.outlook.overlay import overlaid
from pipelines.outlook.prediction import EarlierWork, Prediction, StepOutlook
from pipelines.steps import steps
from storage.store import Store
from storage.uris import parse_uri


@dataclass(frozen=True)
class Outlook:
    """Plan of a build.

    Attributes:
        store: the corpus, as the config names it.
        version: number of its last version; None before the first.
        up_to_date: whether the build would commit no version.
        entries: entries against those of the last version.
        known_rejects: rejects of `ingest` in the new version, as far as they are known without reading new audio.
        max_rejects: number of rejects from which the build would commit nothing.
        fits: kinds of the artifacts that would be fitted; the time of that is not counted.
        steps: the steps that would have work.
        earlier: work that stays as an earlier revision of the program did it.
        estimated: number of new and changed entries whose length is that of the mean of their dataset.
    """

    store: str
    version: int | None
    up_to_date: bool
    entries: EntryChanges
    known_rejects: int
    max_rejects: int
    fits: list[str]
    steps: list[StepOutlook]
    earlier: list[EarlierWork]
    estimated: int


def outlook(config: BuildConfig, ray_address: str | None = None) -> Outlook:
    """Plan of `pipelines.build.build.build`; nothing is written.

    Sources are listed; files are read only where a build reads them to see whether they were replaced.

    Args:
        config: configuration of the build.
        ray_address: address of a Ray cluster, which is not asked; None = Ray on this machine.

    Raises:
        UserError: config or sources are invalid, as in a build.
        StorageError: the store cannot be read.
    """
    with _read_only(config.store) as store:
        parent = parent_of(store)
        with Prediction(store, config, ray_address, parent) as session:
            state = first_state(config, session, parent)
            for step in steps().values():
                step.run(state)
            return _of(config, state, session)


def _of(config: BuildConfig, state: BuildState, session: Prediction) -> Outlook:
    ingested, changes, gone = state.steps["ingest"], settled(state), set(chain.from_iterable(state.gone.values()))
    changes.rejected += sum(key not in gone for key in session.rejects)
    rejects = len(session.rejects) + sum(sum(receipt.rejects.values()) for receipt in ingested)
    entries = len(session.rejects) + sum(receipt.rows_in for receipt in ingested)
    return Outlook(
        store=config.store,
        version=state.parent.number if state.parent else None,
        up_to_date=is_up_to_date(state),
        entries=changes,
        known_rejects=rejects,
        max_rejects=int(config.max_reject_ratio * entries),
        fits=session.fits,
        steps=session.steps,
        earlier=session.earlier,
        estimated=session.lengths.estimated,
    )


@contextmanager
def _read_only(uri: str) -> Generator[Store]:
    """Yield a store that is not written: what would be written goes to a temporary folder, which is removed."""
    with TemporaryDirectory(prefix="echox-dry-run-") as folder:
        scratch = Store.open(folder)
        place = parse_uri(uri)
        is_new = isinstance(place, Path) and not place.exists()
        yield scratch if is_new else overlaid(uri, scratch)
