"""Lines about a training, from metrics with known times."""

from echox.outlook import Outlook
from flows.training_lines import TrainingLines

OUTLOOK = Outlook("t2c", "/corpora/a@1", 10_000, 5_000, 260)


def metrics(step: float, **others: float) -> dict[str, float]:
    seen = {"total_num_examples": 40 * step, "examples": 400.0, "skipped": 0.0, "grad_norm": 1.0, "lr": 1e-5}
    return {"step": step, "loss": 2.5, "words": 2.25, **seen, "tokens_per_second": 14_200.4, "data_time": 1.0, **others}


def test_lines_tell_the_epoch_the_speed_and_the_time_left() -> None:
    told: list[str] = []
    clock = iter([100.0, 160.0, 190.0])
    lines = TrainingLines(OUTLOOK, told.append, lambda: next(clock))
    lines.begin()
    lines.show(metrics(500))
    lines.show({"step": 500.0, "valid/loss": 2.75, "valid/compute_time": 3.0})
    lines.show(metrics(600, memory_bytes=3.1e9, skipped=4))
    assert told == [
        "stage t2c on /corpora/a@1: 5,000 examples an epoch, 260 held out; 10,000 steps",
        "step 500 of 10,000, epoch 4.00, loss 2.5, words 2.25, 14,200 tokens/s, 0:01:00 passed",
        "step 500 of 10,000, valid/loss 2.75",
        "step 600 of 10,000, epoch 4.80, loss 2.5, words 2.25, 14,200 tokens/s, 3.1 GB, 4 too long, "
        "0:01:30 passed, 0:47:00 left",
    ]
