"""How many weights each part has, and how many of them a stage trains: counted without making any of them.

`python -m echox.costs.parameters echox-3b`
"""

import argparse
import sys
from dataclasses import dataclass

import torch
from torch import nn

from echox.errors import EchoxError
from echox.models.echo import Echo
from echox.models.language_model import LanguageModel
from echox.models.lora import Lora
from echox.models.s2t import S2T
from echox.models.t2c import T2C
from echox.architectures import Architecture, load_architecture

STAGES = ("s2t", "t2c", "echo")


@dataclass(frozen=True)
class Count:
    """Weights of one part.

    Attributes:
        total: all of them; one that two modules share counts once.
        trained: those that get gradients.
    """

    total: int
    trained: int


def count(module: nn.Module) -> Count:
    """Weights of a module, which may be on the meta device."""
    weights = list(module.parameters())
    return Count(sum(x.numel() for x in weights), sum(x.numel() for x in weights if x.requires_grad))


def stage_counts(architecture: Architecture) -> dict[str, dict[str, Count]]:
    """For each stage, its parts and `all` of them, frozen as the stage freezes them."""
    return {stage: _parts(stage_model(architecture, stage)) for stage in STAGES}


def table(counts: dict[str, dict[str, Count]]) -> str:
    """As lines of text, for people."""
    lines = [f"{'stage':6}{'part':16}{'weights':>16}{'trained':>16}{'share':>9}"]
    for stage, parts in counts.items():
        for part, found in parts.items():
            share = f"{100 * found.trained / max(found.total, 1):.2f} %"
            lines.append(f"{stage:6}{part:16}{found.total:16,}{found.trained:16,}{share:>9}")
    return "\n".join(lines)


def stage_model(architecture: Architecture, stage: str) -> S2T | T2C | Echo:
    """A stage's model on the meta device, frozen as the stage freezes it."""
    with torch.device("meta"):
        if stage == "t2c":
            return T2C(architecture.t2c, torch.empty(architecture.llm.vocabulary, architecture.llm.decoder.hidden_size))
        model = S2T(architecture, placeholder=0) if stage == "s2t" else Echo(architecture, placeholder=0)
    model.freeze()
    return model


def _parts(model: S2T | T2C | Echo) -> dict[str, Count]:
    if isinstance(model, S2T):
        return _s2t(model)
    return _t2c(model) if isinstance(model, T2C) else _echo(model)


def _s2t(model: S2T) -> dict[str, Count]:
    return {**_counts(encoder=model.encoder, adapter=model.adapter), **_llm(model.llm), "all": count(model)}


def _t2c(model: T2C) -> dict[str, Count]:
    return _counts(text_embedding=model.text_embedding, decoder=model.words, all=model)


def _echo(model: Echo) -> dict[str, Count]:
    return _counts(s2t=model.s2t, t2c=model.t2c, denoising=model.denoising, decoder=model.words, all=model)


def _llm(model: LanguageModel) -> dict[str, Count]:
    """LoRA's weights apart from the language model's own."""
    updates = [count(module) for module in model.modules() if isinstance(module, Lora)]
    lora = Count(sum(each.total for each in updates), sum(each.trained for each in updates))
    every = count(model)
    own = {"llm": Count(every.total - lora.total, every.trained - lora.trained)}
    return {**own, "llm lora": lora} if updates else own


def _counts(**parts: nn.Module) -> dict[str, Count]:
    return {name.replace("_", " "): count(part) for name, part in parts.items()}


def main(arguments: list[str] | None = None) -> int:
    """The command: the table of a preset; 2 when there is no such preset."""
    parser = argparse.ArgumentParser(prog="python -m echox.costs.parameters", description="Weights of an architecture.")
    parser.add_argument("preset", help="a preset's name, or a YAML file of an architecture")
    preset = parser.parse_args(arguments).preset
    try:
        sys.stdout.write(table(stage_counts(load_architecture(preset))) + "\n")
    except EchoxError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
