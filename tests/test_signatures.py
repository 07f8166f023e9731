"""Signatures read from source: what the parts themselves say, without importing them."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from multigen import registry
from multigen.errors import RecipeError
from multigen.parts import BUILTIN
from multigen.registry import Part
from multigen.signatures import UNKNOWN, written

PARTS = [(kind, name, place) for kind, names in BUILTIN.items() for name, place in names.items()]
# Parts whose arguments no recipe can give: classes without a constructor of their own.
BARE = {
    "asked_key",
    "asked_scale",
    "chroma_entropy",
    "clipping",
    "degree_distance",
    "detune",
    "dissonance",
    "key",
    "loudness",
    "onset_rate",
    "parallels",
    "rhythm_distance",
    "silence",
    "step_distance",
    "tempo",
    "tonality",
}


@pytest.mark.parametrize(("kind", "name", "place"), PARTS)
def test_the_source_says_what_the_code_says(kind: str, name: str, place: str) -> None:
    try:
        real = registry.arguments(kind, name)
    except RecipeError as error:
        pytest.skip(str(error))
    if kind == "family":  # no recipe gives it anything
        return
    found = written(place)
    if name in BARE and kind == "metric":
        assert real == [] and found is None
        return
    assert found is not None
    assert [(a.name, a.required) for a in found] == [(a.name, a.required) for a in real]
    for mine, theirs in zip(found, real, strict=True):
        assert mine.annotation is UNKNOWN or mine.annotation == theirs.annotation, mine.name


def test_almost_every_type_is_known() -> None:
    each = [
        (name, a.name) for _, name, place in PARTS for a in written(place) or () if a.annotation is UNKNOWN
    ]
    assert sorted(each) == [
        ("clips", "captions"), ("emoji", "categories"), ("folder", "captions"),
        ("folder", "labels"), ("list", "of"), ("moving_emoji", "motions"), ("pairs", "captions"), ("table", "of"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "part",
    [
        Part("ddim", {"etaa": 1}),
        Part("ddim", {"eta": "x"}),
        Part("ddim", {"eta": None}),
        Part("adaptive", {"rtol": True}),
    ],
)
def test_both_refuse_with_the_same_words(part: Part) -> None:
    said = []
    for check in (registry.check, registry.check_written):
        with pytest.raises(RecipeError) as error:
            check("sampler", part, "sampler")
        said.append(str(error.value))
    assert said[0] == said[1]


def test_what_a_builder_gives_and_what_is_required() -> None:
    found = {a.name: a for a in written("multigen.core.timesteps:listed") or ()}
    assert "n" not in found
    assert found.keys() == {a.name for a in registry.arguments("timesteps", "list")}
    with pytest.raises(RecipeError, match="needs it; there is no default"):
        registry.check_written("timesteps", Part("list"))


def test_parts_that_only_code_knows_pass() -> None:
    registry.check_written("sampler", Part("of another package", {"anything": 1}))
    assert written("multigen.core.samplers:no_such") is None
    assert written("multigen.no_such:thing") is None


def test_registered_parts_are_checked_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def ddim(*, mine: int = 0) -> None: ...

    monkeypatch.setitem(registry._registered, ("sampler", "ddim"), ddim)
    registry.check_written("sampler", Part("ddim", {"mine": 1}))
    with pytest.raises(RecipeError, match="eta"):
        registry.check_written("sampler", Part("ddim", {"eta": 0.5}))


def test_nothing_is_imported_to_read_them() -> None:
    code = """
        import sys
        from multigen.parts import BUILTIN
        from multigen.signatures import written
        for names in BUILTIN.values():
            for place in names.values():
                written(place)
        assert "torch" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
