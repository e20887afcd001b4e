import torch
from torch import nn

from echox.models.language_model import LanguageModel
from echox.weights.filling import fill, names_of, unmade
from tests.echox.models.shapes import ARCHITECTURE


def test_parts_with_a_checkpoint_take_no_memory() -> None:
    with unmade("/models/there"):
        assert nn.Linear(2, 3).weight.is_meta
    with unmade(None):
        assert not nn.Linear(2, 3).weight.is_meta


def test_weights_keep_their_dtype_and_whether_they_are_trained() -> None:
    module = nn.Sequential(nn.Linear(2, 3, device="meta", dtype=torch.bfloat16), nn.Linear(3, 1))
    module[0].requires_grad_(False)
    before = module.get_parameter("1.weight").detach().clone()
    fill(module, {"0.weight": torch.ones(3, 2), "1.bias": torch.full((1,), 7.0)})
    first, second = module[0], module[1]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    assert first.weight.equal(torch.ones(3, 2, dtype=torch.bfloat16))
    assert not first.weight.requires_grad
    assert first.bias.is_meta
    assert second.bias.item() == 7.0
    assert second.weight.equal(before)


def test_a_tensor_of_the_right_dtype_is_not_copied() -> None:
    module, tensor = nn.Linear(2, 3, bias=False, device="meta"), torch.ones(3, 2)
    fill(module, {"weight": tensor})
    assert module.weight.data_ptr() == tensor.data_ptr()


def test_a_language_model_on_meta_becomes_the_one_that_was_made() -> None:
    """Also where the head is the table, and with the rotary frequencies, which belong to no checkpoint."""
    config = ARCHITECTURE.llm.__class__(
        decoder=ARCHITECTURE.llm.decoder, vocabulary=ARCHITECTURE.llm.vocabulary, tied=True, trainable="all"
    )
    made = LanguageModel(config).eval()
    with torch.device("meta"):
        other = LanguageModel(config).eval()
    fill(other, made.state_dict())
    assert other.table is other.model.final_proj.weight
    inputs_BLH = torch.randn(1, 5, config.decoder.hidden_size)
    assert other.logits(other.states(inputs_BLH)).equal(made.logits(made.states(inputs_BLH)))
    assert len(names_of(other, lambda weight: weight is other.table)) == 2
