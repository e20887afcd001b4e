"""The released layout: a small checkpoint with its names, against the same computation in torch and transformers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, WhisperConfig, WhisperForConditionalGeneration

from echox.errors import EchoxError
from echox.models.echo import Echo, Segments
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.released import load_released, released_architecture

VOCABULARY, UNITS, WIDTH, INNER, PLACEHOLDER = 128_262, 40, 16, 24, 128_256
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 500_000.0,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 16384,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
WHISPER = {
    "d_model": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 4,
    "max_source_positions": 50,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 8,
    "vocab_size": 10,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


@dataclass
class Theirs:
    """The released model's modules, by their names."""

    whisper: Any
    llm: LlamaForCausalLM
    adapter: Any
    translator: Any

    def hear(self, mels_MF: Tensor) -> Tensor:
        """(K, H): kept frames of one clip."""
        states_TE = self.whisper(mels_MF[None]).last_hidden_state[0]
        part = self.adapter
        projected_FH = part["mm_projector1"](states_TE.view(-1, 2 * states_TE.size(1)))
        mixed_1FH = part["asr_transformer_encoder"](projected_FH[None])  # one turn of F: a frame sees itself alone
        frames_FH = part["out_norm"](mixed_1FH[0])
        tokens_F = part["audio_feature_head"](frames_FH).argmax(-1)
        keep_F = torch.cat([torch.tensor([True]), tokens_F[1:] != tokens_F[:-1]])
        kept_KH = frames_FH[keep_F]
        seen_KH, _ = part["lbm"]["encoder_attn"](kept_KH, frames_FH[keep_F], frames_FH[keep_F])
        return part["lbm"]["atten_layer_norm"](kept_KH + seen_KH)

    def answer(self, heard_KH: Tensor, before: list[int], after: list[int]) -> tuple[Tensor, Tensor]:
        """Logits (L, V) and last states (L, H) of the prompt with speech, and what follows it."""
        table_VH = self.llm.model.embed_tokens.weight
        inputs_1LH = torch.cat([table_VH[before], heard_KH, table_VH[after]])[None]
        states_1LH = self.llm.model(inputs_embeds=inputs_1LH).last_hidden_state
        return self.llm.lm_head(states_1LH)[0], states_1LH[0]

    def speak(self, states_TH: Tensor, units: list[int]) -> Tensor:
        """(units + 1, V + U): scores of each unit and of what follows the last."""
        part = self.translator
        table_JH = torch.cat([part["model"].embed_tokens.weight, part["unit_embedding"].weight])
        before = [128006, 128000, 65576, 128007, 128000, 198, 12800]
        behind = [128009, 128006, 128000, 65576, 128007, 128000, 198]
        middle = table_JH[behind + [VOCABULARY + unit for unit in units]]
        return self._scores(torch.cat([table_JH[before], part["aligner_MLP"](states_TH), middle]), len(units))

    def read(self, text: list[int], units: list[int]) -> Tensor:
        """(units + 1, V + U): scores of each unit of a text, as in the stage that trains on texts."""
        part = self.translator
        table_JH = torch.cat([part["model"].embed_tokens.weight, part["unit_embedding"].weight])
        before = [128006, 128000, 65576, 128007, 128000, 198, 128000]
        behind = [128009, 128006, 128000, 65576, 128007, 128000, 198]
        return self._scores(table_JH[before + text + behind + [VOCABULARY + unit for unit in units]], len(units))

    def _scores(self, inputs_LH: Tensor, units: int) -> Tensor:
        part = self.translator
        states_1LD = part["model"](inputs_embeds=part["adapter"](inputs_LH)[None]).last_hidden_state
        return part["lm_head"](states_1LD)[0, -units - 1 :]


def make() -> Theirs:
    torch.manual_seed(0)
    llm = LlamaForCausalLM(LlamaConfig(**LLAMA))
    translator = LlamaModel(LlamaConfig(**{**LLAMA, "vocab_size": 1}))  # `large`: two layers of the LLM's shape
    table = translator.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
    theirs = Theirs(
        WhisperForConditionalGeneration(WhisperConfig(**WHISPER)).model.encoder,
        llm,
        nn.ModuleDict(
            {
                "mm_projector1": nn.Linear(16, WIDTH),
                "asr_transformer_encoder": nn.TransformerEncoder(
                    nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, norm_first=True), 1, enable_nested_tensor=False
                ),
                "out_norm": nn.LayerNorm(WIDTH),
                "audio_feature_head": nn.Linear(WIDTH, VOCABULARY, bias=False),
                "lbm": nn.ModuleDict(
                    {"encoder_attn": nn.MultiheadAttention(WIDTH, 4), "atten_layer_norm": nn.LayerNorm(WIDTH)}
                ),
            }
        ),
        nn.ModuleDict(
            {
                "model": translator,
                "unit_embedding": nn.Linear(WIDTH, UNITS, bias=False),
                "adapter": nn.Linear(WIDTH, WIDTH),
                "lm_head": nn.Linear(WIDTH, VOCABULARY + UNITS, bias=False),
                "aligner_MLP": nn.Sequential(
                    nn.Linear(WIDTH, INNER), nn.ReLU(), nn.Dropout(0.1), nn.Linear(INNER, WIDTH)
                ),
            }
        ),
    )
    for module in (theirs.whisper, llm, theirs.adapter, theirs.translator):
        module.eval().requires_grad_(False)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
    table.weight.copy_(llm.model.embed_tokens.weight)
    return theirs


def save(theirs: Theirs, folder: Path) -> tuple[Path, Path]:
    """The released folder and Whisper's."""
    released, whisper = folder / "EchoX", folder / "whisper"
    released.mkdir()
    whisper.mkdir()
    tensors = {
        **theirs.llm.state_dict(),
        **{f"model.{name}": tensor for name, tensor in theirs.adapter.state_dict().items()},
        **{f"unit_translator.{name}": tensor for name, tensor in theirs.translator.state_dict().items()},
    }
    save_file(tensors, released / "model.safetensors")
    config = {**LLAMA, "model_type": "EchoX", "adapter_size": 8, "unit_vocab_size": UNITS, "unit_model": "large"}
    (released / "config.json").write_text(json.dumps(config))
    tokens = [{"id": 128_009, "content": "<|eot_id|>"}, {"id": PLACEHOLDER, "content": "<audio_patch>"}]
    (released / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    encoder = {f"model.encoder.{name}": tensor for name, tensor in theirs.whisper.state_dict().items()}
    save_file(encoder, whisper / "model.safetensors")
    (whisper / "config.json").write_text(json.dumps(WHISPER))
    return released, whisper


def save_again(tensors: dict[str, Tensor], source: Path, folder: Path) -> None:
    """A released folder with other tensors."""
    save_file(tensors, folder / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text((source / name).read_text())


@pytest.fixture(scope="module")
def theirs() -> Theirs:
    return make()


@pytest.fixture(scope="module")
def folders(theirs: Theirs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save(theirs, tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def ours(folders: tuple[Path, Path]) -> Echo:
    return load_released(*folders).eval()


def test_logits_agree_with_an_independent_computation(theirs: Theirs, ours: Echo) -> None:
    torch.manual_seed(1)
    mels_FM = torch.randn(100, 4)
    before, after, response = [128_000, 11, 12], [13, 14], [500, 501, 502, 128_009]
    units = [3, 0, 39, 7]
    heard_KH = theirs.hear(mels_FM.T)
    assert 1 < len(heard_KH) < 25, "something is dropped and something kept"
    logits_LV, states_LH = theirs.answer(heard_KH, before, after + response)
    own = slice(-len(response) - 1, -1)
    spoken_NJ = theirs.speak(states_LH[own][:-1], units)

    inputs = S2TInputs(
        Ragged(mels_FM[None], torch.tensor([100])),
        Ragged.of([[*before, ours.s2t.placeholder, *after]]),
        Ragged.of([response]),
        Ragged.of([[]]),
    )
    with torch.no_grad():
        segments = Segments.whole(inputs.response.lengths_B)
        output = ours(inputs, segments, Ragged.of([units]), with_response=True)
    assert output.response is not None
    torch.testing.assert_close(output.response.logits_NV, logits_LV[own], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.words.logits_NV, spoken_NJ, atol=1e-4, rtol=1e-4)
    assert output.words.targets_N.tolist() == [*(VOCABULARY + unit for unit in units), 128_009]


def test_t2c_reads_text_in_the_frame_of_texts_and_echo_states_in_theirs(theirs: Theirs, ours: Echo) -> None:
    """The two differ in one token: 128000 before texts, 12800 before states."""
    text, units = [500, 501, 502], [3, 0, 39, 7]
    torch.manual_seed(2)
    states_TH = torch.randn(3, WIDTH)
    with torch.no_grad():
        read = ours.t2c(ours.text_prefix(Ragged.of([text])), Ragged.of([units])).logits_NV
        denoised = ours.denoise(Ragged(states_TH[None], torch.tensor([3])))
        spoken = ours.words(ours.wrap(denoised), Ragged.of([units])).logits_NV
        embedded = ours.s2t.llm.embed(torch.tensor([text]))
        confused = ours.t2c(ours.wrap(Ragged(embedded, torch.tensor([3]))), Ragged.of([units])).logits_NV
    torch.testing.assert_close(read, theirs.read(text, units), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(spoken, theirs.speak(states_TH, units), atol=1e-4, rtol=1e-4)
    assert (confused - read).abs().max() > 1e-2, "else the frames could not be told apart here"


def test_the_architecture_is_read_from_the_folders(folders: tuple[Path, Path]) -> None:
    found = released_architecture(*folders)
    assert (found.t2c.decoder.layers, found.t2c.decoder.hidden_size, found.t2c.rows) == (2, WIDTH, UNITS)
    assert (found.encoder.layers, found.encoder.max_frames, found.encoder.full_window) == (1, 100, True)
    assert (found.adapter.context, found.adapter.look_back_keys, found.echo.inner) == ("itself", "kept", INNER)


@pytest.mark.parametrize(("unit_model", "layers"), [("medium", 8), ("small", 4), (None, 6)])
def test_the_size_of_the_echo_decoder(
    unit_model: str | None, layers: int, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    config = json.loads((folders[0] / "config.json").read_text())
    del config["unit_model"]
    (tmp_path / "config.json").write_text(json.dumps(config | ({"unit_model": unit_model} if unit_model else {})))
    assert released_architecture(tmp_path, folders[1]).t2c.decoder.layers == layers


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unit_translator.aligner_MLP.3.bias", r"down\.bias is missing"),
        ("unit_translator.unit_embedding.weight", r"word_embedding\.weight is missing"),
        ("model.lbm.encoder_attn.in_proj_bias", r"look_back\.attention\.in_proj_bias is missing"),
        ("unit_translator.model.layers.1.self_attn.q_proj.weight", "not a Llama of 2 layers"),
        ("lm_head.weight", r"final_proj\.weight is missing"),
    ],
)
def test_what_is_missing_is_named(name: str, message: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    tensors = load_file(folders[0] / "model.safetensors")
    del tensors[name]
    save_again(tensors, folders[0], tmp_path)
    with pytest.raises(EchoxError, match=message):
        load_released(tmp_path, folders[1])


def test_a_text_table_of_its_own_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    tensors = load_file(folders[0] / "model.safetensors")
    tensors["unit_translator.model.embed_tokens.weight"] += 1.0
    save_again(tensors, folders[0], tmp_path)
    with pytest.raises(EchoxError, match=r"is not model\.embed_tokens"):
        load_released(tmp_path, folders[1])


def test_a_folder_that_is_not_released_is_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EchoxError, match="no num_hidden_layers"):
        released_architecture(tmp_path, folders[1])
    (tmp_path / "config.json").write_text((folders[0] / "config.json").read_text())
    with pytest.raises(EchoxError, match=r"no tokenizer\.json"):
        load_released(tmp_path, folders[1])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(EchoxError, match="no token <audio_patch>"):
        load_released(tmp_path, folders[1])
