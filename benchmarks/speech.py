"""What a model of speech says, as a recogniser hears it: `python -m benchmarks.speech [MODEL] [-n 48] [--seed 0]`.

    loop, slots   share of words of held-out sentences that pocketsphinx hears wrong, told that they are of 60 words in
                  any order, or each one of eight (`multigen.evaluation.metrics.words`)
    voice         share whose voice a classifier of other sentences recognises
    new words     words that training never says, one at a time, heard among twenty: share heard wrong
    letters       the same without the dictionary, from their letters
    said anew     a word of a recording replaced by another, heard among eight at each place
    continued     a sentence after 3 s of a recording, its voice not named: slots, and whether the voice stayed
    real time     seconds of one thread for a second of sound, vocoder included

`voices`: the same of flite's own voices through the model's codec. `floor`: the same sounds under other prompts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import multigen
from benchmarks.__main__ import table
from multigen.conditioners.pronunciation import dictionary, words_of
from multigen.datasets import Item
from multigen.datasets.flite import RATE, speak
from multigen.datasets.sentences import frequent
from multigen.datasets.spoken import SpokenSentences
from multigen.evaluation.metrics import Target, shuffled
from multigen.evaluation.metrics.words import Voice, WordError, recognise, slot_error
from multigen.evaluation.sets import reconstruct
from multigen.model.build import build_dataset
from multigen.model.model import Model

_LIST = 20  # words that one is heard among
_KEPT = 3.0  # s of a recording that is continued


class Judges:
    """The metrics of one model, for its dataset."""

    def __init__(self, model: Model, data: SpokenSentences) -> None:
        given = {"modality": model.modality, "dataset": data}
        self.count = len(data.instruments)
        self.loop, self.slots, self.voice = WordError(**given), slot_error(**given), Voice(**given)


def measure(name: str, n: int, seed: int) -> list[dict[str, Any]]:
    """A row for each question."""
    model = multigen.load(name, device="cpu")
    data = build_dataset(model.recipe, model.modality)
    assert isinstance(data, SpokenSentences)
    judges = Judges(model, data)
    items = [data[index] for index in list(data.split()[1])[:n]]
    return [
        *_sentences(model, judges, items, seed),
        *_new_words(model, n, seed),
        *_said_anew(model, judges, items, seed),
        *_continued(model, judges, items, seed),
        _real_time(model, items, seed),
    ]


def _sentences(model: Model, judges: Judges, items: Sequence[Item], seed: int) -> Iterator[dict[str, Any]]:
    targets = [Target(item.get("text", ""), item["id"]) for item in items]
    made = [one.tensor for one in model.generate([t.prompt for t in targets], seed=seed)]
    size = model.modality.shape()
    made = [model.modality.fit(one, size) for one in made]
    real = [reconstruct(model.codec, item["media"], k) for k, item in enumerate(items)]
    for name, metric in (("loop", judges.loop), ("slots", judges.slots), ("voice", judges.voice)):
        own, best, worst = metric(made, targets), metric(real, targets), metric(made, shuffled(targets))
        yield _row(name, own.value, own.error, best.value, worst.value, len(items))


def _new_words(model: Model, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Words of five letters and more; shorter ones are heard badly from anybody."""
    words = [word for word in frequent(4000)[1] if len(word) >= 5][: n // _LIST * _LIST or _LIST]
    lists = [words[k : k + _LIST] for k in range(0, len(words), _LIST)]
    voices = [str(voice) for voice in model.recipe.conditioner.args["voices"]]
    prompts = [f"{voices[k % len(voices)]}: {word}." for k, word in enumerate(words)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "one.wav"
        own = [_flite(word, voices[k % len(voices)], path) for k, word in enumerate(words)]
    best = _list_error([reconstruct(model.codec, one, k) for k, one in enumerate(own)], lists)
    for name in ("new words", "letters"):
        with _without(words if name == "letters" else ()):
            made = [one.tensor for one in model.generate(prompts, seed=seed)]
        error = _list_error(made, lists)
        yield _row(name, error, (error * (1 - error) / len(words)) ** 0.5, best, 1 - 1 / _LIST, len(words))


def _said_anew(model: Model, judges: Judges, items: Sequence[Item], seed: int) -> Iterator[dict[str, Any]]:
    """One word of each recording becomes a word of another sentence. The floor: the recording as it was."""
    made, targets, before = [], [], []
    texts = [[word.text for word in words_of(_text(item)) if word.text] for item in items]
    for k, item in enumerate(items):
        span = _word_span(item, texts[k])
        if span is None:
            continue
        place, begin, end = span
        new = max(texts[(k + 1) % len(items)], key=len)
        words = [*texts[k][:place], new, *texts[k][place + 1 :]]
        keep = f"0:{begin:.3f}s,{end:.3f}s:"
        prompt = f"{item.get('voice')}: {new}"
        made.append(model.edit(item["media"], prompt, keep=keep, seed=seed + k)[0].tensor)
        targets.append(Target(f"{item.get('voice')}: {' '.join(words)}"))
        before.append(item["media"])
    own, floor = judges.slots(made, targets), judges.slots(before, targets)
    yield _row("said anew", own.value, own.error, None, floor.value, len(made))


def _continued(model: Model, judges: Judges, items: Sequence[Item], seed: int) -> Iterator[dict[str, Any]]:
    made, said, voices = [], [], []
    for k, item in enumerate(items):
        other = _text(items[(k + 1) % len(items)])
        found = model.conditioner.extent(other, {})
        assert found is not None and found.duration is not None
        source = item["media"][:, : int(_KEPT * RATE)]
        whole = model.edit(source, other, extend=f"{found.duration}s", seed=seed + k)[0].tensor
        made.append(whole[:, int(_KEPT * RATE) :])
        said.append(Target(other))
        voices.append(Target(item.get("text", "")))
    fitted = [model.modality.fit(one, model.modality.shape()) for one in made]
    words, voice = judges.slots(made, said), judges.voice(fitted, voices)
    yield _row(
        "continued: slots",
        words.value,
        words.error,
        None,
        judges.slots(made, shuffled(said)).value,
        len(made),
    )
    yield _row("continued: voice", voice.value, voice.error, None, 1 / judges.count, len(made))


def _real_time(model: Model, items: Sequence[Item], seed: int) -> dict[str, Any]:
    prompts = [item.get("text", "") for item in items[:8]]
    model.generate(prompts[:1], seed=seed)
    ratios = []
    for k in range(3):
        start = time.process_time()
        made = model.generate(prompts, seed=seed + k)
        ratios.append((time.process_time() - start) / (sum(one.tensor.shape[1] for one in made) / RATE))
    ratios.sort()
    return _row("real time", ratios[1], (ratios[2] - ratios[0]) / 2, None, None, len(prompts))


def _flite(text: str, voice: str, path: Path) -> Tensor:
    return torch.from_numpy(speak(f"{text}.", voice, 1.0, path).sound / 32768)[None].float()


def _list_error(media: Sequence[Tensor], lists: Sequence[Sequence[str]]) -> float:
    """Share of words that are heard as another one of their list."""
    wrong = total = 0
    sounds = iter(media)
    for words in lists:
        for word in words:
            wrong += recognise(next(sounds), RATE, f"({' | '.join(words)})") != [word]
            total += 1
    return wrong / total


def _text(item: Item) -> str:
    return item.get("text", "").partition(": ")[2]


def _word_span(item: Item, words: Sequence[str]) -> tuple[int, float, float] | None:
    """A word in the middle of a sentence: its place, beginning and end in s, found by its phones."""
    spoken = item.get("spoken")
    assert spoken is not None
    middle = sorted(range(1, len(words) - 1), key=lambda k: -len(words[k]))
    for place in middle:
        phones = dictionary()[words[place]]
        at = [k for k in range(len(spoken.tokens)) if spoken.tokens[k : k + len(phones)] == phones]
        if len(at) == 1 and len(phones) >= 3:
            return place, spoken.ends[at[0] - 1], spoken.ends[at[0] + len(phones) - 1]
    return None


@contextmanager
def _without(words: Sequence[str]) -> Iterator[None]:
    """The dictionary without some words."""
    taken = {word: dictionary().pop(word) for word in words}
    try:
        yield
    finally:
        dictionary().update(taken)


def _row(
    name: str, value: float, error: float, voices: float | None, floor: float | None, n: int
) -> dict[str, Any]:
    found = {"value": value, "error": error, "voices": voices, "floor": floor}
    return {"measure": name, **{k: None if v is None else round(v, 3) for k, v in found.items()}, "n": n}


def main() -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speech", description=__doc__)
    parser.add_argument("model", nargs="?", default="audio_speech")
    parser.add_argument("-n", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(table(measure(given.model, given.n, given.seed)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
