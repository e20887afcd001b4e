"""Names that are safe in archives, in Kaldi's tables and as splits. Two ids never get the same name."""

import re
from collections.abc import Collection

ESCAPE = "="
"""Stands before the two hexadecimal digits of a byte, like the `%` of URLs, which `printf` treats specially."""
NO_SPLIT = "train"
"""Split of the utterances that have none, as on the Hugging Face Hub."""
_RESERVED = {"all"}
"""Names that `datasets` takes for something else."""


def escaped(text: str, kept: str) -> str:
    """Write every character but ASCII letters, digits and those of `kept` as `=XX`, one for each byte of its UTF-8.

    `urllib.parse.unquote(name.replace("=", "%"))` gives the text back.
    """
    return re.sub(f"[^A-Za-z0-9{re.escape(kept)}]", _hexadecimal, text, flags=re.ASCII)


def archive_key(utterance_id: str) -> str:
    """Name of an utterance in a tar, without extension: no dots, because WebDataset's extensions begin at the first."""
    parts = [escaped(part, "_-") for part in utterance_id.split("/")]
    return "/".join(parts) if all(parts) else escaped(utterance_id, "_-")


def kaldi_ids(utterance_id: str, dataset: str, speaker: str | None) -> tuple[str, str]:
    """Ids of an utterance and its speaker in Kaldi's tables; an utterance of an unknown speaker is its own speaker.

    Speakers of two datasets are two speakers. The speaker's id is the beginning of the utterance's id, and the `+`
    after it sorts before all other characters, so that sorting by either id gives one order, as Kaldi demands.
    """
    owner = escaped(dataset if speaker is None else f"{dataset}/{speaker}", "_-.")
    name = f"{owner}+{escaped(utterance_id.removeprefix(f'{dataset}/'), '_-.')}"
    return name, name if speaker is None else owner


def split_names(splits: Collection[str | None]) -> dict[str | None, str]:
    """Names of letters, digits, dots and underscores for the splits of a corpus; None and `train` share one name."""
    named: dict[str | None, str] = {None: NO_SPLIT, NO_SPLIT: NO_SPLIT}
    for split in sorted({split or NO_SPLIT for split in splits} - {NO_SPLIT}):
        name = re.sub(r"[^A-Za-z0-9_]+", "_", split)
        while name in {*named.values(), *_RESERVED}:
            name += "_"
        named[split] = name
    return {split: named[split or None] for split in splits}


def _hexadecimal(match: re.Match[str]) -> str:
    return "".join(f"{ESCAPE}{byte:02X}" for byte in match[0].encode())
