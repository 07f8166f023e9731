"""Groups of what is asked for: how well each is made, and how often it comes unasked, beside the training data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import multigen
from benchmarks.refresh.card import rows_of, write_section
from multigen.evaluation.evaluate import build_parts
from multigen.evaluation.groups import measure_groups, neutral_set, quality
from multigen.evaluation.metrics import Metric
from multigen.evaluation.sets import MediaSet, draw_targets, generated_set, pools_of
from multigen.model.build import build_dataset
from multigen.recipe.guards import Groups
from multigen.recipe.schema import Recipe
from multigen.registry import Part

_COLOURS = "red, orange, yellow, green, blue, purple, pink"
_INSTRUMENTS = "church organ, reed organ, harpsichord, flute, oboe, french horn"
_TONICS = (
    "C, D-flat, C-sharp, D, E-flat, D-sharp, E, F, F-sharp, G-flat, G, A-flat, G-sharp, A, B-flat, A-sharp, B"
)
_FOODS = {
    "fruit": "melon, watermelon, tangerine, lemon, lime, banana, pineapple, mango, apple, pear, peach, cherries, "
    "strawberry, blueberries, kiwifruit, grapes",
    "vegetables": "tomato, olive, avocado, aubergine, eggplant, potato, carrot, corn, pepper, cucumber, broccoli, "
    "garlic, onion, mushroom, leafy green",
    "dishes": "hamburger, french fries, pizza, hot dog, sandwich, taco, burrito, egg, green salad, spaghetti, sushi, "
    "dumpling, curry and rice, cooked rice, pancakes, bacon, cheese wedge",
    "sweets": "ice cream, doughnut, cookie, birthday cake, shortcake, cupcake, pie, chocolate bar, candy, lollipop, "
    "custard, honey pot",
    "drinks": "glass of milk, hot beverage, teapot, teacup, sake, wine glass, cocktail glass, tropical drink, "
    "beer mug, beer mugs, bubble tea, cup with straw, tumbler glass",
}
_WEAK = 0.9  # a judge that is right on a smaller share of real media


class Attribute(NamedTuple):
    """What groups differ in.

    names   group -> the words that name it, between commas; empty: the classes of the data
    judge   the feature in which media are judged
    shown   metrics of the table
    """

    title: str
    names: Mapping[str, str]
    judge: str
    shown: tuple[str, ...]


def each(names: str) -> dict[str, str]:
    """Every name is a group of its own."""
    return {name: name for name in names.split(", ")}


_KEYS = {
    f"{tonic.replace('-sharp', '#')} {mode}": f"{tonic} {mode}"
    for mode in ("major", "minor")
    for tonic in _TONICS.split(", ")
}
ATTRIBUTES = {
    "image_emoji": (
        Attribute("colours", each(_COLOURS), "hues", ("hue", "retrieval")),
        Attribute("kinds of food", _FOODS, "efficientnet_lite0", ("retrieval",)),
    ),
    "video_moving_emoji": (
        Attribute("directions", {}, "course", ("direction", "retrieval")),
        Attribute("colours", each(_COLOURS), "hues", ("retrieval", "kept")),
    ),
    "audio_music": (
        Attribute("instruments", each(_INSTRUMENTS), "spectral", ("instrument", "tonality", "detune")),
        Attribute("keys", _KEYS, "pitch_classes", ("tonality",)),
    ),
    "image_digits": (Attribute("digits", {}, "thumbnail", ("classifier",)),),
}
ASKED = {"image_emoji": 120, "video_moving_emoji": 54, "audio_music": 36, "image_digits": 200}
NEUTRAL = {"image_emoji": 160, "video_moving_emoji": 60, "audio_music": 36, "image_digits": 200}


def run(name: str, out: Path) -> str:
    """Measure the groups of each attribute, and write their tables."""
    attributes = ATTRIBUTES.get(name)
    if attributes is None:
        return "no groups are named in its prompts"
    model = multigen.load(name)
    dataset = build_dataset(model.recipe, model.modality)
    feature, metrics = build_parts(model, dataset)
    seed = model.recipe.seed
    model.recipe = asking(model.recipe, attributes[0], NEUTRAL[name])
    targets = draw_targets(dataset, pools_of(dataset)[0], ASKED[name], seed=seed)
    made = generated_set(model, targets, "asked", seed=seed)
    groups = model.recipe.evaluate.groups
    assert groups is not None
    neutral = neutral_set(model, groups)
    texts = []
    for attribute in attributes:
        model.recipe = asking(model.recipe, attribute, NEUTRAL[name])
        used = {key: metrics[key] for key in attribute.shown}
        found = measure_groups(model, dataset, [made], used, feature, neutral)
        assert found is not None
        texts.append(told(attribute, found, made, used))
    write_section(
        out, "groups", "\n\n".join([_HEAD.format(name=name, asked=len(made), neutral=len(neutral)), *texts])
    )
    return f"{', '.join(one.title for one in attributes)}"


_HEAD = """\
## Groups

`python -m benchmarks.refresh {name} --only groups`: {asked} media for captions of the data, whose quality stands by
what they ask for (mean, its 95% interval, number of media), and {neutral} for the empty prompt, which asks for nothing.
What those show is judged by the nearest group mean of training items in a feature; the same
judge looks at real media. In brackets 95% intervals (Wilson)."""


def asking(recipe: Recipe, attribute: Attribute, n: int) -> Recipe:
    """The recipe, whose evaluation asks for the groups."""
    names = {group: tuple(words.split(", ")) for group, words in attribute.names.items()}
    groups = Groups(names=names, n=n, judge=Part(attribute.judge))
    return dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, groups=groups))


def told(attribute: Attribute, found: Mapping[str, Any], made: MediaSet, used: Mapping[str, Metric]) -> str:
    """A table, and what it says in a sentence."""
    rows = [
        (
            one["group"],
            _share(one["training"]),
            _share(one["real"]),
            _share(one["outputs"]),
            one["beyond_chance"] or "no",
            *(quality(one["quality"][metric]) if metric in one["quality"] else "-" for metric in used),
        )
        for one in found["rows"]
    ]
    header = ("group", "training captions", "real, judged", "outputs, judged", "beyond chance", *used)
    beyond = [f"{one['beyond_chance']} {one['group']}" for one in found["rows"] if one["beyond_chance"]]
    said = f"Beyond chance: {', '.join(beyond)}." if beyond else "No group is beyond chance."
    weak = " A weak judge: look at the media, too." if found["judge_right"]["share"] < _WEAK else ""
    about = (
        f"### By {attribute.title}\n\nThe judge, `{found['judge']}`, is right on {_share(found['judge_right'])} of "
        f"real media;\n{found['apart']:.0%} of the outputs would have to change for the shares of real media. "
        f"{said}{weak}"
    )
    return f"{about}\n\n{rows_of(header, rows)}"


def _share(found: Mapping[str, float]) -> str:
    if math.isnan(found["share"]):
        return "-"
    return f"{found['share']:.0%} ({found['low']:.0%} to {found['high']:.0%})"
