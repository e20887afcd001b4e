"""A corpus version as one self-contained HTML page: no scripts, links or fonts."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from flows.report.grids import (
    compression_grid,
    corpus_grid,
    examples_grid,
    licences_grid,
    lineage_rows,
    rejects_grid,
    shared_audio_grid,
    word_lengths,
)
from flows.report.records import Facts
from storage.store import Store
from storage.versions import report_path
from unitlang.printing import shown

_TEMPLATES = Environment(
    loader=PackageLoader("flows.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: shown(value) if type(value) is str else value,  # not what is HTML already
)


def leave_report(store: Store, facts: Facts) -> str:
    """Write the page of a version into its store unless it is there, and return its path or URL.

    Raises:
        StorageError: the store refuses.
    """
    path = report_path(facts["version"])
    if not store.exists(path):
        store.put(path, page(facts).encode())
    return store.url(path)


def page(facts: Facts) -> str:
    """Return the page as HTML; text from configs and sources is escaped."""
    return _TEMPLATES.get_template("report.html").render(
        facts=facts,
        compression=compression_grid(facts),
        corpus=corpus_grid(facts),
        licences=licences_grid(facts),
        shared_audio=shared_audio_grid(facts),
        rejects=rejects_grid(facts),
        word_lengths=word_lengths(facts),
        training=examples_grid(facts),
        lineage=list(lineage_rows(facts)),
    )
