"""The costs of one example in each stage: floating-point operations, and bytes kept for the backward pass.

Operations are those of matrix products, 2 for each weight and position; attention counts as full, not causal. Where a
gradient passes a frozen weight, the backward pass has as many; where it also trains the weight, twice as many
(Kaplan et al., 2020, arXiv:2001.08361, section 2.1, where all weights are trained: 2 + 4). Bytes are
those that autograd keeps of bfloat16 training as `echox` does it: norms read float32, products bfloat16.
"""

from dataclasses import dataclass
from typing import Literal

from echox.architectures import Architecture
from echox.models.decoder import DecoderConfig
from echox.models.encoder import EncoderConfig
from echox.models.frame_scores import CHUNK
from echox.models.lora import LoraConfig
from echox.models.t2c import T2CConfig

HALF, WHOLE = 2, 4
"""Bytes of bfloat16 and of float32."""
Gradient = Literal["none", "through", "first", "all"]
"""Backward pass of a part: none; through frozen weights to trained ones; into trained weights, before which nothing is
trained; through and into trained weights."""
BACKWARD: dict[Gradient, int] = {"none": 0, "through": 1, "first": 1, "all": 2}
"""Operations of the backward pass as a multiple of the forward pass."""


@dataclass(frozen=True)
class Example:
    """The lengths of an example.

    Attributes:
        states: states of the encoder (50/s); those of a whole window where it always reads one.
        speech: positions of the speech in the language model.
        prompt: tokens around the speech.
        response: tokens of the answer, or of T2C's text.
        words: words of the spoken answer.
        segments: segments of the answer.
    """

    states: int = 0
    speech: int = 0
    prompt: int = 0
    response: int = 0
    words: int = 0
    segments: int = 1


@dataclass(frozen=True)
class Work:
    """The work for one example.

    Attributes:
        forward: operations of the forward pass.
        backward: operations of the backward pass.
        again: operations of the forward pass that activation checkpointing repeats.
        saved: bytes that the backward pass needs.
        layers: bytes among them that are inside layers and can be recomputed.
        inputs: bytes of those layers' inputs, which recomputing keeps instead.
        layer: bytes of the largest of those layers, which are recomputed one at a time.
        scores: further bytes while the gradient of the loss passes the largest head.
    """

    forward: float = 0.0
    backward: float = 0.0
    again: float = 0.0
    saved: float = 0.0
    layers: float = 0.0
    inputs: float = 0.0
    layer: float = 0.0
    scores: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.forward + other.forward,
            self.backward + other.backward,
            self.again + other.again,
            self.saved + other.saved,
            self.layers + other.layers,
            self.inputs + other.inputs,
            max(self.layer, other.layer),
            max(self.scores, other.scores),
        )

    def bytes(self, *, recompute: bool) -> float:
        """Return the peak number of bytes, with layers recomputed or kept."""
        kept = self.saved - self.layers + self.inputs + self.layer if recompute else self.saved
        return kept + self.scores

    def operations(self, *, recompute: bool) -> float:
        """Return the operations of both passes."""
        return self.forward + self.backward + (self.again if recompute else 0.0)


def writing(architecture: Architecture, example: Example) -> float:
    """Return the operations of writing pseudo-labels: S2T's answer, then T2C's words, both with a cache."""
    llm, words = architecture.llm, architecture.t2c
    speech = _encoder(architecture.encoder, example.states) + _adapter(architecture, example, trains=False)
    answer = decoder_work(llm.decoder, _llm_positions(example), 1, "none", llm.lora)
    answer += head_work(llm.decoder.hidden_size, llm.vocabulary, example.response, "none")
    spoken = decoder_work(words.decoder, example.response + example.words, example.segments, "none")
    spoken += head_work(words.decoder.hidden_size, words.text_vocabulary + words.rows, example.words, "none")
    return (speech + answer + spoken).forward


def linear(weights: int, positions: float, gradient: Gradient) -> Work:
    """Return the work of matrix products alone."""
    forward = 2.0 * weights * positions
    return Work(forward, BACKWARD[gradient] * forward)


def decoder_work(
    config: DecoderConfig, positions: float, sequences: int, gradient: Gradient, lora: LoraConfig | None = None
) -> Work:
    """Return the work of Llama-style layers.

    Args:
        config: configuration of the layers.
        positions: positions of all sequences.
        sequences: number of sequences, of similar lengths.
        gradient: the backward pass.
        lora: low-rank updates of the layers, if there are any.
    """
    hidden, inner, heads = config.hidden_size, config.intermediate_size, config.key_value_heads
    keys = hidden // config.heads * heads
    weights = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner
    products = linear(weights, positions, gradient)
    attention = 4.0 * hidden * positions**2 / sequences  # scores and sums; their gradients are two products each
    trained: Gradient = "none" if gradient == "none" else "all"
    updates = linear(_lora_weights(lora, hidden, keys), positions, trained) if lora else Work()
    forward = products.forward + attention + updates.forward
    backward = products.backward + updates.backward + (0 if gradient == "none" else 2 * attention)
    saved = 0.0 if gradient == "none" else positions * _layer_bytes(config, gradient == "all", lora)
    layers, inputs = config.layers, 0.0 if gradient == "none" else positions * hidden * HALF * config.layers
    again = 0.0 if gradient == "none" else forward * layers
    return Work(forward * layers, backward * layers, again, saved * layers, saved * layers, inputs, saved)


def head_work(hidden: int, vocabulary: int, targets: float, gradient: Gradient) -> Work:
    """Return the work of a head and its softmax.

    Float32 log-probabilities are kept; the gradients of them and of the scores are added for a moment.

    Args:
        hidden: hidden size before the head.
        vocabulary: scores of a target.
        targets: number of targets.
        gradient: the backward pass.
    """
    products = linear(hidden * vocabulary, targets, gradient)
    if gradient == "none":
        return products
    scores = targets * vocabulary
    return Work(products.forward, products.backward, saved=scores * WHOLE, scores=scores * 2 * WHOLE)


def s2t_work(architecture: Architecture, example: Example) -> Work:
    """Return a training step's share for one example of stage s2t."""
    return _s2t(architecture, example)


def t2c_work(architecture: Architecture, example: Example) -> Work:
    """Return a training step's share for one example of stage t2c."""
    return _word_decoder(architecture.t2c, example)


def echo_work(architecture: Architecture, example: Example) -> Work:
    """Return a training step's share for one example of stage echo, without the pseudo-labels, see `writing`.

    The language model reads S2T's answer and the annotated one, of the same length, and LoRA is trained. Nothing before
    the language model is trained, so no gradient leaves the first layer's queries, keys and values.
    """
    llm = architecture.llm
    speech = _encoder(architecture.encoder, example.states) + _adapter(architecture, example, trains=False)
    positions = 2 * _llm_positions(example)
    states = decoder_work(llm.decoder, positions, 2, "through", llm.lora)
    unneeded = Work(backward=-_first_inputs(llm.decoder, positions, llm.lora))
    response = head_work(llm.decoder.hidden_size, llm.vocabulary, example.response, "through")
    return speech + states + unneeded + response + _echo(architecture, example)


def _first_inputs(config: DecoderConfig, positions: float, lora: LoraConfig) -> float:
    """Return the operations of the gradients of the first layer's inputs: through projections and through LoRA."""
    hidden = config.hidden_size
    keys = hidden // config.heads * config.key_value_heads
    inputs = sum(lora.rank * hidden for target in lora.targets if target != "o")
    return 2.0 * positions * (hidden * hidden + 2 * hidden * keys + inputs)


def _s2t(architecture: Architecture, example: Example) -> Work:
    llm = architecture.llm
    speech = _encoder(architecture.encoder, example.states) + _adapter(architecture, example, trains=True)
    states = decoder_work(llm.decoder, _llm_positions(example), 1, "through", llm.lora)
    return speech + states + head_work(llm.decoder.hidden_size, llm.vocabulary, example.response, "through")


def _llm_positions(example: Example) -> int:
    return example.speech + example.prompt + example.response


def _encoder(config: EncoderConfig, states: int) -> Work:
    """Return the work of Whisper's encoder, frozen: two convolutions of three taps, one of stride 2, and layers."""
    weights = 3 * (2 * config.mels * config.hidden_size + config.hidden_size**2)
    weights += config.layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
    attention = 4.0 * states**2 * config.hidden_size * config.layers
    return linear(weights, states, "none") + Work(forward=attention)


def _adapter(architecture: Architecture, example: Example, *, trains: bool) -> Work:
    """Return the work of projection, one layer, CTC's head over all frames, and look-back from the kept ones."""
    config, llm = architecture.adapter, architecture.llm
    hidden, frames = llm.decoder.hidden_size, example.states / config.stack
    gradient: Gradient = "all" if trains else "none"
    stacked = config.stack * architecture.encoder.hidden_size
    projection = linear(stacked * hidden, frames, "first" if trains else "none")
    layer = projection + linear(8 * hidden**2, frames, gradient)  # 4 of attention, 4 of a feed-forward of 2 H
    back = linear(2 * hidden**2, frames, gradient) + linear(2 * hidden**2, example.speech, gradient)
    attended = 4.0 * hidden * (frames**2 + frames * example.speech)
    attention = Work(attended, 2 * attended if trains else 0.0, saved=_adapter_bytes(stacked, hidden, example, frames))
    head = _ctc_work(hidden, llm.vocabulary, frames, gradient)
    return layer + back + head + (attention if trains else Work(attended))


def _ctc_work(hidden: int, vocabulary: int, frames: float, gradient: Gradient) -> Work:
    """Return the work of CTC's head, which scores chunks of frames, and scores them again in the backward pass.

    The scores of a chunk are there in bfloat16 and, with their exponentials, in float32.
    """
    products = linear(hidden * vocabulary, frames, gradient)
    again = 0.0 if gradient == "none" else products.forward
    scores = min(frames, CHUNK) * vocabulary * (HALF + (0 if gradient == "none" else 2 * WHOLE))
    return Work(products.forward, products.backward + again, scores=scores)


def _adapter_bytes(stacked: int, hidden: int, example: Example, frames: float) -> float:
    """Return the bytes of the inputs of projection, three norms, attention, feed-forward, CTC's head and look-back."""
    layer = HALF * stacked + hidden * (3 * WHOLE + 11 * HALF)
    return frames * (layer + 3 * HALF * hidden) + example.speech * hidden * (WHOLE + 3 * HALF)


def _word_decoder(config: T2CConfig, example: Example) -> Work:
    """Return the work of T2C, or of the Echo decoder with a state for each token; each segment has begin and end."""
    hidden, targets = config.decoder.hidden_size, example.words + example.segments
    positions = example.response + targets
    projection = linear(config.text_hidden_size * hidden, positions, "all") + Work(
        saved=positions * config.text_hidden_size * HALF
    )
    layers = decoder_work(config.decoder, positions, example.segments, "all")
    return projection + layers + head_work(hidden, config.text_vocabulary + config.rows, targets, "all")


def _echo(architecture: Architecture, example: Example) -> Work:
    """Return the work of the denoising adapter and the Echo decoder."""
    hidden, inner = architecture.llm.decoder.hidden_size, architecture.echo.inner
    up, down = (linear(hidden * inner, example.response, "all") for _ in range(2))
    saved = Work(saved=example.response * (HALF * hidden + 3 * HALF * inner + 2 * WHOLE * hidden))
    return up + down + saved + _word_decoder(architecture.t2c, example)


def _lora_weights(config: LoraConfig, hidden: int, keys: int) -> int:
    outputs = {"q": hidden, "k": keys, "v": keys, "o": hidden}
    return sum(config.rank * (hidden + outputs[target]) for target in config.targets)


def _layer_bytes(config: DecoderConfig, trained: bool, lora: LoraConfig | None) -> int:
    """Return the bytes of a position: two norms, attention (keys and values repeated for all heads), feed-forward."""
    norms = 2 * config.hidden_size * WHOLE
    attention = 4 * config.hidden_size * HALF
    feed_forward = 3 * config.intermediate_size * HALF
    if trained:  # the products' inputs and the norms' outputs too
        return norms * 2 + attention + feed_forward + 2 * config.hidden_size * HALF + config.intermediate_size * HALF
    dropped = len(lora.targets) * config.hidden_size * (HALF + 1) if lora else 0  # inputs of the updates, and masks
    return norms + attention + feed_forward + dropped
