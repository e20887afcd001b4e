"""The text LLM of `miniature.py`: a tiny Llama that learns facts as text and is saved in Hugging Face's format."""

# Shapes: B = examples, L = positions, V = vocabulary.

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from transformers import LlamaConfig, LlamaForCausalLM

from echox.models.decoder import DecoderConfig
from echox.text.prompts import Prompter

Pair = tuple[str, str]
"""A question and its answer."""
BATCH = 64
RATE = 3e-3
IGNORE = -100


def teach(folder: Path, pairs: Sequence[Pair], prompter: Prompter, config: DecoderConfig, seed: int, steps: int) -> Any:
    """Train a Llama to answer the pairs' questions, and write it to `folder` with its tokenizer.

    Args:
        folder: folder of the model.
        pairs: questions and answers.
        prompter: makes the prompts.
        config: shape of the model.
        seed: seed of weights and batches.
        steps: optimizer steps.
    """
    torch.manual_seed(seed)
    model = new_llama(config, prompter.tokenizer.vocab_size)
    examples = [encode(pair, prompter) for pair in pairs]
    optimizer = AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    rate = OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        chosen = torch.randint(len(examples), (BATCH,)).tolist()
        logits_BLV, targets_BL = predict(model, [examples[index] for index in chosen])
        loss = functional.cross_entropy(logits_BLV.flatten(0, 1), targets_BL.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
    model.save_pretrained(folder)
    prompter.tokenizer.save(folder)
    return model


def new_llama(config: DecoderConfig, vocabulary: int) -> Any:
    """Return a model with random weights, and embeddings as large as the outputs of the speech adapter's last norm."""
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.max_length,
            rope_theta=config.rope_theta,
            rms_norm_eps=1e-5,
            vocab_size=vocabulary,
            tie_word_embeddings=False,
            attention_dropout=0.0,
            initializer_range=config.hidden_size**-0.5,
        )
    )
    torch.nn.init.normal_(model.model.embed_tokens.weight)
    return model


def encode(pair: Pair, prompter: Prompter) -> tuple[list[int], int]:
    """Return the ids of prompt and answer, and where the answer begins; the question is in the place of speech."""
    request = prompter.speech_request("")
    place = request.index(prompter.tokenizer.speech_id)
    prompt = [*request[:place], *prompter.tokenizer.encode(pair[0]), *request[place + 1 :]]
    return [*prompt, *prompter.answer(pair[1])], len(prompt)


def predict(model: Any, examples: Sequence[tuple[list[int], int]]) -> tuple[Tensor, Tensor]:
    """Return logits_BLV and targets_BL, in which everything but the answers is ignored."""
    ids_BL = pad_sequence([torch.tensor(ids) for ids, _ in examples], batch_first=True)
    ends = [(start, len(ids)) for ids, start in examples]
    positions_L = torch.arange(ids_BL.size(1))
    answered_BL = torch.stack([(positions_L >= start) & (positions_L < end) for start, end in ends])
    targets_BL = ids_BL.where(answered_BL, IGNORE)[:, 1:]
    return model(ids_BL[:, :-1]).logits, targets_BL


def answered(model: Any, pairs: Sequence[Pair], prompter: Prompter) -> list[bool]:
    """Return whether greedy decoding gives each answer exactly."""
    model.eval()
    with torch.no_grad():
        logits_BLV, targets_BL = predict(model, [encode(pair, prompter) for pair in pairs])
    return ((logits_BLV.argmax(-1) == targets_BL) | (targets_BL == IGNORE)).all(1).tolist()
