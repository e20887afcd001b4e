"""Stage echo's answers, segments and losses, of a small model with random weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from echox.architectures import ARCHITECTURES
from echox.data.corpus import Corpus
from echox.data.speech import SpokenBatch
from echox.decoding.generation import answer
from echox.losses import cross_entropy
from echox.models.echo import Echo
from echox.models.s2t import S2T
from echox.models.t2c import T2C
from echox.recipes.folder import CARD, RunFolder
from echox.recipes.stage import Setting, text_table
from echox.recipes.stages.echo import EchoStageConfig, SpeechToSpeech
from echox.segments.trigger import TriggerConfig, cuts
from echox.stages import text_columns
from echox.text.sentencepiece import SentencePieceTokenizer
from echox.text.tokenizer import END_OF_TURN
from storage.tables import read_table
from tests.echox.runs import old_card

Made = tuple[SpeechToSpeech, Echo, SpokenBatch]
QUICK = TriggerConfig(lookahead=1, window=1, early=2, threshold=0.0, late=4, longest=6)


def finished_run(folder: Path, stage: str, model: torch.nn.Module) -> RunFolder:
    """The folder of a run with these weights."""
    (folder / "model").mkdir(parents=True)
    save_file(model.state_dict(), folder / "model/model.safetensors")
    (folder / CARD).write_text(old_card(stage, "corpus", "f" * 64))
    return RunFolder.open(folder)


def shaken(model: torch.nn.Module, size: float) -> torch.nn.Module:
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * size)
    return model


@pytest.fixture
def make(tones: str, tmp_path: Path) -> Callable[..., Made]:
    def made(trainable: Any = "lora", **settings: Any) -> Made:
        torch.manual_seed(0)
        corpus = Corpus.open(tones)
        tokenizer = SentencePieceTokenizer.learn(corpus.texts(text_columns()), 300)
        tiny = ARCHITECTURES["tiny"].with_vocabularies(tokenizer.vocab_size, corpus.unit_language.vocab_size)
        architecture = replace(tiny, llm=replace(tiny.llm, trainable=trainable))
        s2t = S2T(architecture, tokenizer.speech_id)
        s2t.llm.table.data.copy_(text_table(architecture))
        s2t.freeze()
        sources = {
            "s2t": finished_run(tmp_path / "s2t", "s2t", shaken(s2t, 0.02)),
            "t2c": finished_run(tmp_path / "t2c", "t2c", T2C(architecture.t2c, text_table(architecture))),
        }
        config = EchoStageConfig(max_new_tokens=24, max_words=8, **settings)
        stage = SpeechToSpeech(Setting(config, architecture, tokenizer, corpus, sources))
        model = stage.build()
        stage.load(model)
        stage.freeze(model)
        reading = stage.reading()
        rows = read_table(corpus.store, corpus.paths("echo")[0], [*reading.columns]).to_pylist()[:3]
        return stage, model, cast(SpokenBatch, reading.collate([reading.example(row) for row in rows]))

    return made


def answered(stage: SpeechToSpeech, model: Echo, batch: SpokenBatch) -> list[list[int]]:
    """The answers of S2T as it is now."""
    end = stage.setting.tokenizer.special(END_OF_TURN)
    written = answer(model.s2t, batch.inputs.speech, batch.inputs.prompt, end=end, max_new_tokens=24)
    return [row.tolist() for row in written.tokens.rows()]


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_targets_stay_those_of_the_run_of_s2t_while_it_learns(make: Callable[..., Made], trainable: str) -> None:
    stage, model, batch = make(trainable)
    assert stage.setting.config.loss.s2t_weight == 1.0
    model.train()
    first, own = stage.prepare(model, batch), answered(stage, model, batch)
    assert [row.tolist()[:-1] for row in first.inputs.response.rows()] == own
    stage.objective(model, batch, first).total.backward()
    learning = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert learning == {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name.split(".")[1] for name in learning if name.startswith("s2t.")} == {"llm"}
    shaken(model.s2t.llm, 0.3)
    again = stage.prepare(model, batch)
    assert answered(stage, model, batch) != own, "S2T has learnt to answer otherwise"
    assert again.inputs.response.rows()[0].equal(first.inputs.response.rows()[0])
    assert again.inputs.response.values_BL.equal(first.inputs.response.values_BL)
    assert again.words.values_BL.equal(first.words.values_BL)
    assert again.segments.start_S.equal(first.segments.start_S)


@pytest.mark.parametrize("targets", ["pseudo", "pseudo_from_text", "annotated"])
def test_equation_4(make: Callable[..., Made], targets: str) -> None:
    """The response's loss is that of the annotated answer, whatever answer is spoken."""
    stage, model, batch = make(targets=targets)
    shaken(model.s2t.llm, 0.1)
    model.eval()
    prepared = stage.prepare(model, batch)
    found = stage.objective(model, batch, prepared)
    annotated = model.s2t(batch.inputs).response
    mean = float(cross_entropy(annotated).detach()) / annotated.count
    assert float(found.parts["response"]) == pytest.approx(mean, rel=1e-4)
    output = model(prepared.inputs, prepared.segments, prepared.words)
    words = float(cross_entropy(output.words).detach()) / output.words.count
    pairs = functional.cosine_similarity(output.denoised.flat(), output.text.flat(), dim=-1).detach()
    expected = words + 0.2 * float((1 - pairs).mean()) + mean
    assert found.total.item() / found.count == pytest.approx(expected, rel=1e-4)
    assert (targets == "pseudo") == (not prepared.inputs.response.values_BL.equal(batch.inputs.response.values_BL))


@pytest.mark.parametrize("targets", ["pseudo", "pseudo_from_text"])
def test_the_trigger_cuts_by_the_states_of_the_run_of_s2t(make: Callable[..., Made], targets: str) -> None:
    stage, model, batch = make(targets=targets, segments="trigger", trigger=QUICK)
    s2t = model.eval().s2t
    row_H = model.s2t.llm.head_row(stage.setting.tokenizer.encode(".")[-1])
    prepared = stage.prepare(model, batch)
    states = s2t.states(s2t.prefix(prepared.inputs.speech, prepared.inputs.prompt), prepared.inputs.response)
    scores = functional.cosine_similarity(states.values_BL, row_H, dim=-1)
    shaken(model.s2t.llm, 0.3)
    segments = stage.prepare(model, batch).segments
    ends = (segments.start_S + segments.lengths_S - 1).tolist()
    for example, length in enumerate((prepared.inputs.response.lengths_B - 1).tolist()):
        own = [end for end, of in zip(ends, segments.example_S.tolist(), strict=True) if of == example]
        assert own[:-1] == [cut for cut in cuts(scores[example, :length].tolist(), QUICK) if cut < length - 1]
        assert own[-1] == length - 1
    assert len(ends) > 5
