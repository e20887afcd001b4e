"""From a checked request to a finished run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq2.recipe import run as run_recipe

from echox.data.corpus import Corpus
from echox.errors import EchoxError
from echox.presets import Architecture, dump_architecture, load_architecture
from echox.recipes.base import StageRecipe
from echox.recipes.export import export
from echox.recipes.recorder import Report, RunRecorder
from echox.recipes.run import Run, RunCard, code_version, open_parts
from echox.recipes.runtime import logging_to_files
from echox.recipes.sections import to_sections
from echox.recipes.settings import load_settings
from echox.recipes.stage import Setting, Stage
from echox.recipes.stages.echo import SpeechToSpeech
from echox.recipes.stages.s2t import SpeechToText
from echox.recipes.stages.t2c import TextToWords
from echox.text.sentencepiece import SentencePieceTokenizer
from echox.text.tokenizer import TextTokenizer, load_tokenizer

if TYPE_CHECKING:
    from echox.training import TrainingRequest

STAGES: dict[str, type[Stage[Any, Any, Any]]] = {
    stage.name: stage for stage in (SpeechToText, TextToWords, SpeechToSpeech)
}


def settle(request: "TrainingRequest", *, write: bool) -> Setting[Any]:
    """All that the stage works with; `write` begins the run's folder, or finds that it goes on.

    Raises:
        EchoxError: the folder holds another run, or the tokenizer does not fit the architecture.
    """
    config = load_settings(request.stage, request.preset, request.settings)
    corpus, parts = Corpus.open(request.corpus), open_parts(request.parts)
    preset = load_architecture(request.preset)
    tokenizer = find_tokenizer(preset, corpus, list(parts.values()))
    architecture = fit(preset, tokenizer, corpus)
    setting = Setting(config, architecture, tokenizer, corpus, parts)
    if write:
        Run(Path(request.out), _card(request, setting)).begin(tokenizer)
    return setting


def find_tokenizer(preset: Architecture, corpus: Corpus, parts: list[Run]) -> TextTokenizer:
    """That of the runs that this one stands on, else the language model's own, else one learnt from the corpus."""
    if parts:
        return parts[0].tokenizer()
    if preset.llm.checkpoint is not None:
        return load_tokenizer(Path(preset.llm.checkpoint))
    return SentencePieceTokenizer.learn(corpus.texts(), preset.llm.vocabulary)


def fit(preset: Architecture, tokenizer: TextTokenizer, corpus: Corpus) -> Architecture:
    """The architecture with as many words as the corpus has, and tokens as a pretrained model or the tokenizer has.

    Raises:
        EchoxError: a pretrained model that does not have all tokens.
    """
    text, words = tokenizer.vocab_size, corpus.unit_language.vocab_size
    if preset.llm.checkpoint is not None:
        if text > preset.llm.vocabulary:
            problem = f"{text} tokens, but llm.vocabulary is {preset.llm.vocabulary}"
            raise EchoxError(f"{preset.llm.checkpoint}: its tokenizer has {problem}; choose the model's own preset")
        text = preset.llm.vocabulary
    return preset.with_vocabularies(text, words)


def train_stage(name: str, setting: Setting[Any], folder: Path, report: Report | None) -> None:
    """Train to the end and leave the best model; `report` is given on the worker that writes."""
    stage = STAGES[name](setting)
    recorder = None if report is None else RunRecorder(folder, report)
    with logging_to_files():
        run_recipe(StageRecipe(stage, recorder), to_sections(setting.config), folder, no_rich=True)
        if recorder is not None:
            model = stage.build()
            stage.freeze(model)
            export(folder, model)


def _card(request: "TrainingRequest", setting: Setting[Any]) -> RunCard:
    return RunCard(
        stage=request.stage,
        corpus=setting.corpus.manifest.uri,
        preset=request.preset,
        settings=request.settings,
        parts=dict(request.parts),
        fingerprints={**setting.corpus.fingerprints, "tokenizer": setting.tokenizer.fingerprint},
        config=setting.config.model_dump(mode="json"),
        architecture=dump_architecture(setting.architecture),
        code=code_version(),
    )
