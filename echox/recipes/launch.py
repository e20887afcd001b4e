"""From a checked request to a finished run."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq2.recipe import run

from echox.architectures import Architecture, dump_architecture, load_architecture
from echox.data.corpus import Corpus, keep_read_contents
from echox.errors import EchoxError
from echox.recipes.base import StageRecipe
from echox.recipes.export import export
from echox.recipes.folder import (
    CARD,
    CONTENTS,
    MODEL,
    ORDER,
    WEIGHTS,
    RunCard,
    RunFolder,
    code_version,
    find_weights,
    last_step,
    open_sources,
)
from echox.recipes.history import best_step
from echox.recipes.recorder import Report, RunRecorder
from echox.recipes.saving import failed_saves_told
from echox.recipes.sections import to_sections
from echox.recipes.settings import load_settings
from echox.recipes.stage import Setting, Stage
from echox.text.loading import load_tokenizer
from echox.text.sentencepiece import SentencePieceTokenizer
from echox.text.tokenizer import TextTokenizer
from echox.trainer.runtime import logging_to_files
from echox.weights.frozen import check_references

if TYPE_CHECKING:
    from echox.training import TrainingRequest

log = logging.getLogger(__name__)

AnyStage = Stage[Any, Any, Any]


def settle(
    request: "TrainingRequest", stage: type[AnyStage], text_columns: Mapping[str, Sequence[str]], *, write: bool
) -> AnyStage:
    """Return the stage of a request, ready to train.

    Args:
        request: what to train.
        stage: class of the request's stage.
        text_columns: columns from which a tokenizer is learnt, by training table.
        write: begin the run's folder, or check that it can be resumed.

    Raises:
        EchoxError: the folder holds another run, or the tokenizer does not fit the architecture.
    """
    config = load_settings(stage, request.architecture, request.settings)
    corpus, sources = Corpus.open(request.corpus), open_sources(request.source_models)
    named = load_architecture(request.architecture)
    out = Path(request.out)
    tokenizer = find_tokenizer(named, corpus, list(sources.values()), text_columns, out)
    init = find_weights(Path(request.init)) if request.init is not None else None
    setting = Setting(config, fit(named, tokenizer, corpus), tokenizer, corpus, sources, init)
    if write:
        RunFolder(out, _card(request, setting)).begin(tokenizer)
        check_references(out)
        keep_read_contents(out / CONTENTS)
    return stage(setting)


def find_tokenizer(
    named: Architecture,
    corpus: Corpus,
    sources: list[RunFolder],
    text_columns: Mapping[str, Sequence[str]],
    out: Path,
) -> TextTokenizer:
    """Return the tokenizer of the source models, else of the pretrained language model, else learn one.

    Args:
        named: the architecture before it is fitted to a corpus.
        corpus: its texts are learnt from where there is no tokenizer yet.
        sources: the finished runs that this one needs.
        text_columns: columns of texts, by training table.
        out: folder of the run; if it has begun, its tokenizer is not learnt again.

    Raises:
        EchoxError: a folder has no tokenizer, or the corpus has no texts.
    """
    if sources:
        return sources[0].tokenizer()
    if named.llm.checkpoint is not None:
        return load_tokenizer(Path(named.llm.checkpoint))
    if (out / CARD).is_file() and (out / SentencePieceTokenizer.FILE).is_file():
        return SentencePieceTokenizer.load(out)
    return SentencePieceTokenizer.learn(corpus.texts(text_columns), named.llm.vocabulary)


def fit(named: Architecture, tokenizer: TextTokenizer, corpus: Corpus) -> Architecture:
    """Return the architecture with the corpus' number of words and the tokenizer's or pretrained model's of tokens.

    Raises:
        EchoxError: the tokenizer has more tokens than the pretrained model.
    """
    text, words = tokenizer.vocab_size, corpus.unit_language.vocab_size
    if named.llm.checkpoint is not None:
        if text > named.llm.vocabulary:
            problem = f"{text} tokens, but llm.vocabulary is {named.llm.vocabulary}"
            raise EchoxError(f"{named.llm.checkpoint}: its tokenizer has {problem}; choose its own architecture")
        text = named.llm.vocabulary
    return named.with_vocabularies(text, words)


def run_recipe(stage: AnyStage, folder: Path, report: Report | None) -> None:
    """Train to the end, unless that is done, and export the best model; `report` is given on the worker that writes."""
    recorder = None if report is None else RunRecorder(folder, stage.setting.config.log, report)
    unfinished = last_step(folder) < stage.setting.config.schedule.steps
    with logging_to_files():
        if unfinished:
            with closing(StageRecipe(stage, folder, recorder)) as recipe, failed_saves_told(folder):
                run(recipe, to_sections(stage.setting.config), folder, no_rich=True)
        if recorder is not None and (unfinished or not (folder / MODEL / WEIGHTS).is_file()):
            log.info("writing the model of the best checkpoint, of step %d", best_step(folder))
            export(stage, folder)


def _card(request: "TrainingRequest", setting: Setting[Any]) -> RunCard:
    return RunCard(
        stage=request.stage,
        corpus=setting.corpus.version.uri,
        architecture_name=request.architecture,
        settings=request.settings,
        source_models=dict(request.source_models),
        fingerprints={**setting.corpus.fingerprints, "tokenizer": setting.tokenizer.fingerprint},
        config=setting.config.model_dump(mode="json"),
        architecture=dump_architecture(setting.architecture),
        code=code_version(),
        init=request.init,
        order=ORDER,
    )
