"""What moves: the objects of moving emoji, what texts call them, and how a selection of them is made."""

from __future__ import annotations

import dataclasses

from multigen.datasets import sprites
from multigen.datasets.emoji_folder import read_folder

# What reads well at 18 pixels: emoji's short name -> what a text calls it.
OBJECTS = {
    "apple": "red apple", "green apple": "green apple", "banana": "banana", "strawberry": "strawberry",
    "watermelon": "watermelon", "lemon": "lemon", "tangerine": "tangerine", "pear": "pear", "peach": "peach",
    "pineapple": "pineapple", "tomato": "tomato", "eggplant": "eggplant", "carrot": "carrot", "corn": "corn cob",
    "broccoli": "broccoli", "avocado": "avocado", "mushroom": "red mushroom", "croissant": "croissant",
    "hamburger": "hamburger", "pizza": "slice of pizza", "hotdog": "hot dog", "taco": "taco", "egg": "egg",
    "doughnut": "doughnut", "cookie": "cookie", "birthday": "birthday cake", "cupcake": "cupcake",
    "lollipop": "lollipop", "icecream": "ice cream cone", "coffee": "cup of coffee", "beer": "beer mug",
    "crab": "crab", "lobster": "lobster", "octopus": "octopus", "fish": "blue fish", "tropical fish": "tropical fish",
    "whale": "whale", "dolphin": "dolphin", "turtle": "turtle", "snail": "snail", "butterfly": "butterfly",
    "bee": "bee", "ladybug": "ladybug", "spider": "spider", "frog": "frog", "cat": "cat", "dog": "dog",
    "fox face": "fox", "lion face": "lion", "tiger": "tiger", "bear": "bear", "panda face": "panda",
    "koala": "koala", "pig": "pig", "cow": "cow", "mouse": "mouse", "rabbit": "rabbit", "monkey face": "monkey",
    "chicken": "chicken", "penguin": "penguin", "owl": "owl", "duck": "duck", "baby chick": "baby chick",
    "elephant": "elephant", "unicorn face": "unicorn", "rose": "rose", "tulip": "tulip", "sunflower": "sunflower",
    "cactus": "cactus", "evergreen tree": "fir tree", "palm tree": "palm tree", "maple leaf": "maple leaf",
    "four leaf clover": "clover", "car": "red car", "blue car": "blue car", "taxi": "yellow taxi", "bus": "bus",
    "fire engine": "fire engine", "tractor": "tractor", "airplane": "airplane", "rocket": "rocket",
    "helicopter": "helicopter", "boat": "sailboat", "flying saucer": "flying saucer", "sunny": "sun",
    "crescent moon": "crescent moon", "star": "star", "rainbow": "rainbow", "zap": "lightning bolt",
    "snowman": "snowman", "fire": "fire", "droplet": "water drop", "umbrella": "umbrella", "soccer": "soccer ball",
    "basketball": "basketball", "tennis": "tennis ball", "baseball": "baseball", "football": "american football",
    "8ball": "billiard ball", "balloon": "balloon", "gift": "gift", "heart": "red heart", "blue heart": "blue heart",
    "green heart": "green heart", "crown": "crown", "gem": "gem", "key": "key", "bell": "bell", "bomb": "bomb",
    "bulb": "light bulb", "alarm clock": "alarm clock", "trophy": "trophy", "guitar": "guitar",
    "drum with drumsticks": "drum",
    "ghost": "ghost", "skull": "skull", "robot face": "robot", "alien": "alien", "grinning": "smiley",
    "jack o lantern": "pumpkin", "tophat": "top hat", "anchor": "anchor", "earth americas": "globe",
}  # fmt: skip


def choose(
    objects: tuple[str, ...] | None,
    count: int | None,
    styles: tuple[str, ...] | None,
    path: str | None,
) -> list[sprites.Emoji]:
    """The emoji of a selection, each called what texts call it; from a folder (`path`) where `styles` are named.

    Without `objects`: the built-in list, or all of the folder. `count` of them, evenly spread.
    ValueError for an empty selection, MultigenError for an unknown name.
    """
    emoji = sprites.all_emoji() if styles is None else read_folder(path, styles)
    if styles is None:
        known = {name: short for short, name in OBJECTS.items()}
        names = list(OBJECTS.values()) if objects is None else list(dict.fromkeys(objects))
        chosen = [
            dataclasses.replace(sprites.choose(emoji, known.get(name, name), "data.objects"), name=name)
            for name in names
        ]
    elif objects is None:
        chosen = emoji
    else:
        chosen = list(dict.fromkeys(sprites.choose(emoji, name, "data.objects") for name in objects))
    if not chosen:
        raise ValueError("objects: none are named")
    if count is not None and objects is None:
        if count < 1:
            raise ValueError(f"count: {count!r} is not allowed. Allowed: 1 or more.")
        kept = min(count, len(chosen))
        chosen = [chosen[i * len(chosen) // kept] for i in range(kept)]
    return chosen
