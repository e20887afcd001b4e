from pathlib import Path

import soundfile
import yaml
from pydantic import TypeAdapter

from pipelines.readers import Item, Reader, SourceConfig

EXAMPLES = Path(__file__).parents[2] / "examples"


def sources() -> list[Reader]:
    adapter: TypeAdapter[list[Reader]] = TypeAdapter(list[SourceConfig])
    config = yaml.safe_load((EXAMPLES / "sample.yaml").read_text("utf-8"))
    return adapter.validate_python(config["sources"], context={"base": EXAMPLES})


def test_the_sample_is_what_its_texts_say() -> None:
    texts = yaml.safe_load((EXAMPLES / "sample_texts.yaml").read_text("utf-8"))
    read, tts, questions = [[entry.text for entry in source.read() if isinstance(entry, Item)] for source in sources()]
    assert read == [text for _, text in texts["read"]]
    assert tts == [text for _, text in texts["tts"]]
    assert questions == [text for dialogue in texts["dialogues"] for text in dialogue["turns"]]


def test_every_file_is_there_and_the_sample_stays_small() -> None:
    entries = [entry for source in sources() for entry in source.read()]
    items = [entry for entry in entries if isinstance(entry, Item)]
    assert len(items) == len(entries)
    assert sum(item.uri is None for item in items) == 1
    seconds = 0.0
    for item in items:
        if item.uri:
            info = soundfile.info(item.uri)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            seconds += info.duration
    assert 180 < seconds < 300
    assert sum(path.stat().st_size for path in (EXAMPLES / "sample").rglob("*.*")) < 4e6
