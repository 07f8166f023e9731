"""Words of overrides that Hydra's grammar reads only in quotes: letters of every language, signs, apostrophes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multigen.errors import RecipeError
from multigen.recipe.load import load_recipe
from multigen.recipe.overrides import parse_overrides
from multigen.recipe.quoting import quoted_words
from multigen.runs.sweep_overrides import combinations, sort


def value(text: str) -> object:
    (override,) = parse_overrides([text])
    return override.value


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("data.path=./Bücher und Töne", "./Bücher und Töne"),
        ("name=größe", "größe"),
        ("sample.prompts=[grün , 日本]", ["grün", "日本"]),
        ("sample.prompts=[it's red, it's blue]", ["it's red", "it's blue"]),
        ("sample.prompts=[red (dark) circle, x]", ["red (dark) circle", "x"]),
        ("sample.prompts=[what?, why!]", ["what?", "why!"]),
        ("sample.prompts=[say 'cheese', 'ü']", ["say 'cheese'", "ü"]),
        ("sample.prompts=[a=b & c; d#e]", ["a=b & c; d#e"]),
        ("sample.prompts=[a\\, ü]", ["a, ü"]),
        ("sample.prompts=[C:\\Users\\Jürgen]", ["C:\\Users\\Jürgen"]),
        ("data.args={name: größe, list: [[ä], 1, true, null]}", {"name": "größe", "list": [["ä"], 1, True, None]}),
        ("data.args={time: 1:30 für alle}", {"time": "1:30 für alle"}),
        ("name=${seed} ü", "${seed} ü"),
    ],
)  # fmt: skip
def test_words_need_no_quotes(text: str, meant: object):
    assert value(text) == meant


@pytest.mark.parametrize(
    "text",
    ["a=1e-3", "a=[x, y z]", "a={b: 1, c: [true]}", "a=", "~a.b", "a='it is'", 'a=["x", \'y\']', "a=C:\\Users\\a",
     "a=${b.c}", "a=choice(1,2)", "a=range(start=1,stop=3)", "a=a\\, b", "a=1,2"],
)  # fmt: skip
def test_what_the_grammar_reads_stays_as_it_is(text: str):
    assert quoted_words(text) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("aä1 ;!&'\"日()", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=4))
def test_lists_of_any_words_come_back(words: list[str]):
    if any(re.fullmatch(r"""(["']).*\1|\d+|[^"']*\(.*""", w) or w[0] in "\"'" for w in words):
        return  # quoted already, a number, or a bracket that may close elsewhere
    assert value(f"sample.prompts=[{', '.join(words)}]") == words


def test_a_sweep_has_words_without_quotes_too():
    _, varying, _ = sort(["sample.prompts=[grün],[it's blue]", "name=ä,ö b"])
    assert list(combinations(varying)) == [
        [f"sample.prompts={prompts}", f"name={name}"]
        for prompts in ("['grün']", "['it\\'s blue']")
        for name in ("'ä'", "'ö b'")
    ]


def test_a_recipe_takes_them():
    recipe = load_recipe(
        "image_folder", ["data.path=Fotos für Oma", "sample.prompts=[roter Kreis, grünes Quadrat]"]
    )
    assert recipe.data.args["path"] == "Fotos für Oma"
    assert recipe.sample.prompts == ("roter Kreis", "grünes Quadrat")


@pytest.mark.parametrize("text", ["sample.prompts=[a", "sample.prompts=[x]]", "data.args={ü: b}"])
def test_what_is_no_value_is_refused_with_the_way_to_write_it(text: str):
    with pytest.raises(RecipeError) as error:
        parse_overrides([text])
    key = text.partition("=")[0]
    assert str(error.value) == (
        f"command line: {text}: not an override. Write lists as {key}=[one, two], mappings as {key}={{name: value}}, "
        "and text with such signs in quotes."
    )
