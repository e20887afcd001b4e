"""Tokens per second and launches per token of batched decoding: ours, the walk that it replaced, and transformers.

    uv run python benchmarks/decoding.py

All three decode the same prefixes with the same weights (the language model of `tiny`) and must write the same tokens.
Launches are the operations of torch's profiler that compute something, views and allocations left out: on a GPU each
would be a kernel.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from echox.architectures import ARCHITECTURES
from echox.decoding.generation import write
from echox.models.language_model import LanguageModel
from echox.models.lora import LoraConfig, merge_lora
from echox.models.ragged import Ragged
from echox.native import load_libsndfile

FREE = {
    "as_strided", "view", "_unsafe_view", "reshape", "_reshape_alias", "transpose", "permute", "t", "slice", "select",
    "expand", "unsqueeze", "squeeze", "unflatten", "flatten", "chunk", "split", "split_with_sizes", "alias", "detach",
    "view_as_real", "view_as_complex", "empty", "empty_like", "empty_strided", "resize_", "new_empty", "narrow",
    "lift_fresh", "item", "_local_scalar_dense", "is_nonzero", "to", "result_type", "unbind", "contiguous",
}  # fmt: skip
"""Operations that launch nothing on a GPU."""


def launches(work: Callable[[], object]) -> int:
    """Number of operations that compute something."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    names = (event.name for event in profiled.events() or () if not event.cpu_children)
    return sum(name.startswith("aten::") and name.removeprefix("aten::") not in FREE for name in names)


def walk(llm: LanguageModel, prefix: Ragged, new: int) -> Tensor:
    """Tokens (B, R) in the former way: in one pass up to the shortest prefix, then position by position."""
    from fairseq2.nn import BatchLayout, IncrementalStateBag

    start, longest = int(prefix.lengths_B.min()), prefix.values_BL.size(1)
    cache = IncrementalStateBag(max_num_steps=longest + new + 1)
    inputs_BLD, tokens = prefix.values_BL[:, :start], list[Tensor]()
    for position in range(start, longest + new):
        states = llm.model.decoder(inputs_BLD, BatchLayout.of(inputs_BLD), state_bag=cache)[:, -1]
        cache.increment_step_nr(inputs_BLD.size(1))
        tokens.append(llm.logits(states).argmax(-1))
        inputs_BD = llm.embed(tokens[-1])
        if position < longest:
            inputs_BD = torch.where((position >= prefix.lengths_B)[:, None], inputs_BD, prefix.values_BL[:, position])
        inputs_BLD = inputs_BD[:, None]
    found = Ragged(torch.stack(tokens, 1), prefix.lengths_B)
    return found.cut(prefix.lengths_B - start, torch.full_like(prefix.lengths_B, new)).values_BL


def transformers_of(llm: LanguageModel) -> Any:
    """A Llama of transformers; its weights become those of `llm`."""
    from pathlib import Path

    from transformers import LlamaConfig, LlamaForCausalLM

    config = llm.config.decoder
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=llm.config.vocabulary,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.max_length,
            rope_theta=config.rope_theta,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            eos_token_id=None,  # pyright: ignore[reportArgumentType]
            bos_token_id=None,  # pyright: ignore[reportArgumentType]
            pad_token_id=0,
        )
    ).eval()
    llm.fill(dict(model.state_dict()), Path("transformers"))
    return model


def generated(model: Any, prefix: Ragged, new: int) -> Tensor:
    """Tokens (B, R) of `transformers.generate`, from prefixes that are padded on the left."""
    longest = prefix.values_BL.size(1)
    inputs_BLD = torch.zeros_like(prefix.values_BL)
    mask_BL = torch.zeros(inputs_BLD.shape[:2], dtype=torch.int64)
    for number, row in enumerate(prefix.rows()):
        inputs_BLD[number, longest - len(row) :] = row
        mask_BL[number, longest - len(row) :] = 1
    return model.generate(inputs_embeds=inputs_BLD, attention_mask=mask_BL, max_new_tokens=new, do_sample=False)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="prefixes")
    parser.add_argument("--shortest", type=int, default=60, help="positions of the shortest prefix")
    parser.add_argument("--longest", type=int, default=750, help="positions of the longest one: 30 s of speech")
    parser.add_argument("--new", type=int, default=128, help="tokens that each prefix gets")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the fastest counts")
    asked = parser.parse_args()
    load_libsndfile()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    plain = replace(ARCHITECTURES["tiny"].llm, trainable="lora", lora=LoraConfig())
    llm = LanguageModel(plain).eval().requires_grad_(False)
    reference = transformers_of(llm)
    lengths_B = torch.linspace(asked.shortest, asked.longest, asked.batch).long()
    prefix = Ragged(torch.randn(asked.batch, asked.longest, plain.decoder.hidden_size) * 0.1, lengths_B)

    def ours() -> Tensor:
        return write(llm, prefix, end=-1, max_new_tokens=asked.new).tokens.values_BL

    def before() -> Tensor:
        return walk(llm, prefix, asked.new)

    positions = f"{asked.shortest} to {asked.longest} positions"
    print(f"{asked.batch} prefixes of {positions}, {asked.new} new tokens each, 1 thread\n")
    print("| decoding | tokens/s | launches a token | same tokens |")
    print("|---|---|---|---|")
    with torch.inference_mode():
        row("the walk, LoRA beside", before, before(), asked)
        wanted = before()
        row("one pass, LoRA beside", ours, wanted, asked)
        merge_lora(llm)
        row("one pass, LoRA merged", ours, wanted, asked)
        row("transformers.generate", lambda: generated(reference, prefix, asked.new), wanted, asked)


def row(name: str, work: Callable[[], Tensor], wanted: Tensor, asked: argparse.Namespace) -> None:
    """Print a line of the table: a launch serves the whole batch, so it is counted for each new position."""
    seconds = min(timed(work) for _ in range(asked.rounds))
    same = (work() == wanted).float().mean().item()
    speed, count = asked.batch * asked.new / seconds, launches(work) / asked.new
    print(f"| {name} | {speed:,.0f} | {count:.0f} | {same:.1%} |", flush=True)


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
