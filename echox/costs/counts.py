"""Weights of modules and of the parts of the models, counted without making any of them."""

from dataclasses import dataclass

from torch import nn

from echox.models.echo import Echo
from echox.models.language_model import LanguageModel
from echox.models.lora import Lora
from echox.models.s2t import S2T
from echox.models.t2c import T2C


@dataclass(frozen=True)
class Count:
    """The weights of a part.

    Attributes:
        total: all weights; one that two modules share counts once.
        trained: the weights that get gradients.
    """

    total: int
    trained: int


def count(module: nn.Module) -> Count:
    """Return the weights of a module, which may be on the meta device."""
    weights = list(module.parameters())
    return Count(sum(x.numel() for x in weights), sum(x.numel() for x in weights if x.requires_grad))


def s2t_counts(model: S2T) -> dict[str, Count]:
    """Return the weights of the parts of S2T, and of `all`."""
    return {**_counts(encoder=model.encoder, adapter=model.adapter), **_llm_counts(model.llm), "all": count(model)}


def t2c_counts(model: T2C) -> dict[str, Count]:
    """Return the weights of the parts of T2C, and of `all`."""
    return _counts(text_embedding=model.text_embedding, decoder=model.words, all=model)


def echo_counts(model: Echo) -> dict[str, Count]:
    """Return the weights of the parts of Echo, and of `all`."""
    return _counts(s2t=model.s2t, t2c=model.t2c, denoising=model.denoising, decoder=model.words, all=model)


def _llm_counts(model: LanguageModel) -> dict[str, Count]:
    """Return LoRA's weights apart from the language model's own."""
    updates = [count(module) for module in model.modules() if isinstance(module, Lora)]
    lora = Count(sum(each.total for each in updates), sum(each.trained for each in updates))
    every = count(model)
    own = {"llm": Count(every.total - lora.total, every.trained - lora.trained)}
    return {**own, "llm lora": lora} if updates else own


def _counts(**parts: nn.Module) -> dict[str, Count]:
    return {name.replace("_", " "): count(part) for name, part in parts.items()}
