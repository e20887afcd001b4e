"""HuBERT checkpoints: files, folders, and the bundles that torchaudio can download."""

from unitlang.features import files
from unitlang.features.files import CheckpointFiles

BUNDLES = ("HUBERT_BASE", "HUBERT_LARGE", "HUBERT_XLARGE")
"""torchaudio's pretrained models without fine-tuning (`torchaudio.pipelines`)."""


def locate(checkpoint: str) -> CheckpointFiles:
    """Find the files of a HuBERT checkpoint; see `unitlang.features.files.locate`.

    Raises:
        UnitlangError: there is no such file or folder, or the folder is not a checkpoint.
    """
    remedy = (
        "give a file (.pt, .pth, .bin, .safetensors), a Hugging Face folder, or, with `download: true`, one of "
        + ", ".join(BUNDLES)
    )
    return files.locate(checkpoint, remedy)
