"""Types of the facts of a corpus version. They are JSON values: `echox inspect --json` prints them as they are."""

from typing import Any, NotRequired

from typing_extensions import TypedDict


class CompressionFacts(TypedDict):
    """Rates per second of speech, ratios, and use of the vocabulary."""

    total_ratio: float
    dedup_ratio: float
    unit_language_ratio: float
    frames_per_second: float
    runs_per_second: float
    words_per_second: float
    bits_per_word: float
    bits_per_second: float
    vocabulary_use: float
    word_lengths: list[int]
    """Words by their number of units, from 0."""


class DatasetFacts(TypedDict):
    """Facts of a dataset, or of all together. `rejects` counts by reason, `licences` has hours by licence."""

    hours: float
    utterances: int
    licences: dict[str, float]
    rejects: dict[str, int]
    compression: CompressionFacts


class SharedAudioFacts(TypedDict):
    """Utterances of a dataset whose audio the other one has too; of one dataset, those beyond the first of each."""

    datasets: list[str]
    utterances: int
    hours: float


class GridFacts(TypedDict):
    """Frame grid of the extractor, in samples at 16 kHz."""

    hop: int
    view: int


class QuantizerFacts(TypedDict):
    """Fields of a quantizer's card that are shown."""

    features: dict[str, Any]
    k: int
    fitted: dict[str, Any]
    grid: NotRequired[GridFacts]


class LanguageSettings(TypedDict):
    """Settings of a unit language that are shown."""

    algorithm: str
    max_word_units: int
    sample_hours: float


class LanguageFacts(TypedDict):
    """Fields of a unit language's card that are shown."""

    vocab_size: int
    requested_vocab_size: int
    config: LanguageSettings


class Definition(TypedDict):
    """Definition of units and words: the settings of quantizer and unit language."""

    features: dict[str, Any]
    grid: GridFacts
    k: int
    centroids: str | None
    algorithm: str
    requested_vocab_size: int
    vocab_size: int
    max_word_units: int
    sample_hours: float


class LearntFrom(TypedDict):
    """The speech that the unit language was learnt from, and the version that it was fitted for.

    `corpus` is the store of that version, if it is another one.
    """

    version: int
    hours: float
    hours_added_since: float
    corpus: NotRequired[str]


class SourceFacts(TypedDict):
    """A source of the config; it also has the other fields of its kind."""

    kind: str
    path: str
    dataset: str


class Lineage(TypedDict):
    """Inputs of a version: settings, sources, artifacts' fingerprints, number of work units by step, packages.

    `not_run` names the steps that did not exist when the version was built. `revisions` counts the work units of each
    step by the revision that made them, or by `not recorded`. `suppressed` is the number of entries that were kept out
    because somebody withdrew them.
    """

    artifacts: dict[str, str]
    features: dict[str, Any]
    quantizer: dict[str, Any]
    unit_language: dict[str, Any]
    sources: list[SourceFacts]
    work_units: dict[str, int]
    not_run: list[str]
    revisions: dict[str, dict[str, int]]
    suppressed: int
    packages: dict[str, str]


class Facts(DatasetFacts):
    """All facts of a version; those of `DatasetFacts` are of the whole version."""

    store: str
    version: int
    parent: int | None
    created: str
    status: str
    review: list[str]
    approved_by: str | None
    made_with: Definition
    entries: int
    compression_note: str
    learnt_from: LearntFrom | None
    datasets: dict[str, DatasetFacts]
    reject_examples: dict[str, list[dict[str, str]]]
    examples: dict[str, int]
    unused: dict[str, int]
    shared_audio: list[SharedAudioFacts] | None
    """None where an old version does not record it."""
    lineage: Lineage


class VersionSummary(TypedDict):
    """The facts that distinguish one version from the others.

    `features` has the settings of the extractor, `ratios` the compression ratios, `artifacts` fingerprints; `labels` is
    the number of pairs of models and settings that have labelled it for stage echo.
    """

    version: int
    created: str
    status: str
    hours: float
    utterances: int
    ratios: dict[str, float]
    total_ratio: float
    features: dict[str, Any]
    k: int
    algorithm: str
    vocab_size: int
    max_word_units: int
    artifacts: dict[str, str]
    labels: int
