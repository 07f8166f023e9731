"""The registry: the only door from a recipe to code."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from multigen import parts, registry
from multigen.errors import RecipeError
from multigen.registry import Given, Part, build, check, convert, describe, register


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """Registrations of a test stay in it."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


class Thing:
    def __init__(
        self, axes: Given[int] = 2, *, other: Given[str] = "none", width: int, sizes: tuple[int, ...] = (1,)
    ):
        self.axes, self.other, self.width, self.sizes = axes, other, width, sizes


def test_build_validates_supplies_and_converts():
    register("backbone", "thing")(Thing)
    thing = build(
        "backbone", Part("thing", {"width": 3, "sizes": [4, 5]}), given={"other": "x", "unasked": 1}
    )
    assert (thing.width, thing.sizes, thing.other) == (3, (4, 5), "x")
    assert [a.name for a in registry.arguments("backbone", "thing")] == ["width", "sizes"]
    assert [a.required for a in registry.arguments("backbone", "thing")] == [True, False]


def test_refusals_name_place_allowed_and_nearest():
    register("backbone", "thing")(Thing)
    cases: list[tuple[Part, list[str]]] = [
        (Part("thang", {}), ["here.name: 'thang'", "Did you mean 'thing'?"]),
        (
            Part("thing", {"width": 1, "wdth": 2}),
            ["here.wdth", "Allowed: name, width, sizes.", "Did you mean 'width'?"],
        ),
        (Part("thing", {"width": 1, "other": "x"}), ["here.other", "not an argument of backbone thing"]),
        (Part("thing", {}), ["here.width", "needs it"]),
        (Part("thing", {"width": "3"}), ["here.width: '3'", "int"]),
        (Part("thing", {"width": True}), ["here.width: True", "int"]),
        (Part("thing", {"width": 1, "sizes": [1, 2.5]}), ["here.sizes.1", "tuple[int, ...]"]),
        (Part("thing", {"width": 1, "sizes": 3}), ["here.sizes: 3"]),
        (Part("thing", {"width": {1, 2}}), ["here.width", "plain data"]),
    ]
    for part, fragments in cases:
        with pytest.raises(RecipeError) as error:
            check("backbone", part, "here")
        for fragment in fragments:
            assert fragment in str(error.value)


def test_a_parts_own_refusal_is_placed():
    with pytest.raises(RecipeError, match=r"^schedule \(edm\): edm needs"):
        build("schedule", Part("edm", {"sigma_min": 5.0, "sigma_max": 1.0}), where="schedule")


def test_a_missing_given_is_the_builders_fault():
    class Needs:
        def __init__(self, *, modality: Given[Any]):
            self.modality = modality

    register("codec", "needs")(Needs)
    with pytest.raises(TypeError, match="modality"):
        build("codec", Part("needs"))
    assert build("codec", Part("needs"), given={"modality": 1}).modality == 1


def test_applied_kinds_come_back_with_their_arguments_bound():
    @register("objective", "mine")
    def mine(log_snr: float, *, gamma: float = 5.0) -> float:
        return log_snr * gamma

    assert build("objective", Part("mine"))(2.0) == 10.0
    assert build("objective", Part("mine", {"gamma": 1}))(2.0) == 2.0


def test_convert_is_strict_and_lists_choices():
    assert convert(float, 3, "x") == 3.0
    assert convert(tuple[int, int] | None, None, "x") is None
    with pytest.raises(
        RecipeError, match=r"x: 'fsat' is not allowed\. Allowed: fast, slow\. Did you mean 'fast'\?"
    ):
        convert(Literal["fast", "slow"], "fsat", "x")
    for annotation, value in (
        (int, 1.0),
        (float, "1"),
        (bool, 1),
        (str, 1),
        (tuple[int, ...], "12"),
        (int, True),
    ):
        with pytest.raises(RecipeError):
            convert(annotation, value, "x")
    with pytest.raises(
        RecipeError, match=r"^x: 'lost' is not allowed\. Allowed: list, drop\. Did you mean 'list'\?$"
    ):
        convert(Literal["list", "drop"] | None, "lost", "x")


def test_describe_speaks_yaml():
    assert describe(int) == "int"
    assert describe(float | None) == "float | null"
    assert describe(tuple[int, ...] | None) == "tuple[int, ...] | null"
    assert describe(Literal["a", "b"] | None) == "a | b | null"
    assert describe(dict[str, list[float]]) == "dict[str, list[float]]"
    assert describe(Annotated[int, "x"]) == "int"


def test_unknown_kinds_are_refused():
    for call in (lambda: registry.names("samplr"), lambda: register("samplr", "x")):
        with pytest.raises(ValueError, match="Did you mean 'sampler'"):
            call()


def test_a_later_registration_replaces_and_stands_in_the_list():
    register("sampler", "mine")(len)
    register("sampler", "mine")(max)
    assert registry.lookup("sampler", "mine") is max
    assert "mine" in registry.names("sampler")


def test_entry_points_come_through_the_same_door(monkeypatch):
    class Entry:
        name = "plugged"

        def load(self):
            return Thing

    monkeypatch.setattr(registry, "_entry_points", lambda kind: (Entry(),) if kind == "backbone" else ())
    assert "plugged" in registry.names("backbone")
    assert build("backbone", Part("plugged", {"width": 2})).width == 2


def test_a_missing_package_is_named_and_a_missing_module_of_ours_is_a_bug(monkeypatch, tmp_path):
    (tmp_path / "needy.py").write_text("import no_such_package.inside\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(parts.BUILTIN["codec"], "needy", "needy:Codec")
    with pytest.raises(RecipeError, match=r"^codec.name: codec needy needs the package no_such_package"):
        check("codec", Part("needy"))
    monkeypatch.setitem(parts.BUILTIN["codec"], "gone", "multigen.codecs.gone:Codec")
    with pytest.raises(ModuleNotFoundError):
        check("codec", Part("gone"))


def test_every_built_in_has_plain_defaults_and_a_doc_line():
    for kind, names in parts.BUILTIN.items():
        for name in names:
            assert (registry.lookup(kind, name).__doc__ or "").strip(), (kind, name)
            for argument in registry.arguments(kind, name):
                if not argument.required:
                    convert(argument.annotation, argument.default, f"{kind}.{name}.{argument.name}")


@pytest.mark.parametrize("annotation", [tuple[str, ...], list[str], tuple[str, ...] | None])
def test_one_value_for_a_list_is_refused_with_the_list_that_it_would_be(annotation: Any):
    with pytest.raises(RecipeError, match=r" Write a list: sample\.prompts=\[red apple\]$"):
        convert(annotation, "red apple", "sample.prompts")
    with pytest.raises(RecipeError) as error:
        convert(tuple[int, int], 3, "size")
    assert "Write a list" not in str(error.value)
