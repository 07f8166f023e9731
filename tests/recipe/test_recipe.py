"""Recipes: composing, overriding, refusing with the place, and refusing attacks without side effects."""

from __future__ import annotations

import dataclasses
import os
import sys
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from multigen import registry
from multigen.errors import RecipeError
from multigen.model.compatibility import check_combination
from multigen.recipe import reader
from multigen.recipe import source as recipe_source
from multigen.recipe.compose import by_hydra
from multigen.recipe.dump import recipe_hash, to_yaml
from multigen.recipe.load import load_recipe, override_recipe, parse_recipe
from multigen.recipe.schema import Recipe, Sample, Train
from multigen.registry import Part

BASE = """\
name: tiny
seed: 1
modality: {name: image, size: 8, channels: 1}
data: {name: digits}
codec: {name: pixels}
conditioner: {name: label, classes: ["0", "1"]}
backbone: {name: unet, widths: [8, 16], blocks: 1}
sampler: {name: ddim, eta: 0.5}
guide: {name: cfg, scale: 2.0}
train:
  steps: 10
  batch: 4
  lr: 1.0e-3
sample:
  n: 1
  steps: 2
  prompts: ["0"]
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a recipe file into the (empty) working folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def writer(text: str = BASE, name: str = "tiny.yaml") -> str:
        Path(name).write_text(text, encoding="utf-8")
        return name

    return writer


def refusal(path: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe(path, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- reading and writing ----------------------------------------------------------------------------------------


def test_a_file_becomes_frozen_dataclasses_and_keeps_defaults(write):
    recipe = load_recipe(write())
    assert recipe.sampler == Part("ddim", {"eta": 0.5})
    assert recipe.train == Train(steps=10, batch=4, lr=1e-3)
    assert recipe.sample == Sample(n=1, steps=2, prompts=("0",))
    assert recipe.schedule == Part("flow")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 3  # pyright: ignore


def test_resolved_yaml_reads_back_as_the_same_recipe_from_a_run_folder(write, tmp_path):
    recipe = load_recipe(write(), ["train.betas=[0.5, 0.9]", "sample.size=[8, 16]"])
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(to_yaml(recipe))
    again = load_recipe(str(folder))
    assert again == recipe
    assert again.sample.size == (8, 16)
    assert to_yaml(again) == to_yaml(recipe)


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8")).filter(lambda t: "${" not in t and t != "???"))
def test_any_text_survives_the_resolved_yaml(text: str):
    prompt = "".join(
        c for c in text if c in "\t\n" or unicodedata.category(c) != "Cc"
    )  # prompts have no others
    recipe = Recipe(
        name="tiny",
        description=text,
        modality=Part("image"),
        data=Part("digits"),
        codec=Part("pixels"),
        backbone=Part("unet"),
        train=Train(steps=1),
        sample=Sample(prompts=(prompt, "no", "1e3", "0x1f", "1:30", "~", "2001-01-01")),
    )
    again = parse_recipe(to_yaml(recipe), "text")
    assert again == recipe
    # A laxer reader sees the same words: nobody's tool turns a prompt into a number or a date.
    assert yaml.safe_load(to_yaml(recipe))["sample"]["prompts"] == list(recipe.sample.prompts)


def test_the_hash_is_of_the_meaning_not_of_the_spelling(write):
    one = load_recipe(write())
    other = load_recipe(
        write(BASE.replace("{name: ddim, eta: 0.5}", "{eta: 5.0e-1, name: ddim}").replace("1.0e-3", "1e-3"))
    )
    assert recipe_hash(one) == recipe_hash(other)
    assert recipe_hash(one) != recipe_hash(load_recipe("tiny.yaml", ["sampler.eta=0.6"]))
    assert len(recipe_hash(one)) == 64


def test_yaml_words_stay_words(write):
    text = BASE.replace('["0", "1"]', "[no, off, 1:30, 2001-01-01, 1e3x]")
    assert load_recipe(write(text)).conditioner.args["classes"] == ["no", "off", "1:30", "2001-01-01", "1e3x"]


def test_anchors_and_references_work(write):
    text = BASE.replace("blocks: 1", "blocks: 1, groups: '${train.batch}'").replace(
        "size: 8", "size: &side 8"
    )
    text = text.replace("  n: 1", "  n: ${seed}\n  size: *side") + "description: ${name} with ${train.lr}\n"
    recipe = load_recipe(write(text), ["train.batch=6", "sample.steps=${train.steps}"])
    assert recipe.backbone.args["groups"] == 6
    assert (recipe.sample.size, recipe.sample.n, recipe.sample.steps) == (8, 1, 10)
    assert recipe.description == "tiny with 0.001"


# --- finding ----------------------------------------------------------------------------------------------------


def test_shipped_recipes_load_by_name_and_misspelt_ones_name_the_nearest(write):
    assert load_recipe("image_digits").name == "image_digits"
    assert "Did you mean 'image_digits'?" in refusal("image_digit")
    assert "Did you mean 'image_digits'?" in refusal("recipes/image_digits.yaml")
    write(name="mine.yaml")
    assert "Did you mean 'mine.yaml'?" in refusal("mne.yaml")
    Path("empty").mkdir()
    assert "no recipe.yaml" in refusal("empty")


def test_an_installed_package_carries_its_recipes_inside(tmp_path, monkeypatch):
    for folder in ("site/multigen/recipes", "site/recipes"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{folder.split('/')[1]}.yaml").write_text(BASE)
    monkeypatch.setattr(recipe_source, "__file__", str(tmp_path / "site/multigen/recipe/source.py"))
    monkeypatch.chdir(tmp_path)
    assert list(recipe_source.shipped()) == ["multigen"]
    assert load_recipe("multigen").name == "tiny"


# --- composing --------------------------------------------------------------------------------------------------


def test_a_recipe_extends_siblings_and_shipped_recipes(write):
    write()
    child = write("defaults: [tiny, _self_]\nname: child\ntrain: {steps: 20}\n", "child.yaml")
    recipe = load_recipe(child)
    assert (recipe.name, recipe.train.steps, recipe.train.batch) == ("child", 20, 4)
    grandchild = write("defaults: [child]\nsampler: {eta: 0.25}\n", "grandchild.yaml")
    assert load_recipe(grandchild).sampler == Part("ddim", {"eta": 0.25})
    assert load_recipe(grandchild).train.steps == 20
    # A file of a shipped recipe's name extends the shipped one.
    same = write("defaults: [image_digits, _self_]\nseed: 7\n", "image_digits.yaml")
    assert load_recipe(same).seed == 7
    assert load_recipe(same).train == load_recipe("image_digits", []).train


def test_self_decides_who_wins(write):
    write()
    first = write("defaults: [_self_, tiny]\nseed: 5\nname: c\n", "first.yaml")
    assert load_recipe(first).seed == 1
    last = write("defaults: [tiny, _self_]\nseed: 5\nname: c\n", "last.yaml")
    assert load_recipe(last).seed == 5


def test_another_name_drops_the_old_arguments(write):
    write()
    other = write("defaults: [tiny]\nsampler: {name: heun}\nguide: {name: cfg}\n", "other.yaml")
    assert load_recipe(other).sampler == Part("heun")
    assert load_recipe(other).guide == Part("cfg", {"scale": 2.0})
    back = write("defaults: [other]\nsampler: {name: ddim}\n", "back.yaml")
    assert load_recipe(back).sampler == Part("ddim")
    assert load_recipe("tiny.yaml", ["sampler.name=heun"]).sampler == Part("heun")
    assert load_recipe("tiny.yaml", ["sampler.eta=0.1", "sampler.name=ddim"]).sampler.args == {"eta": 0.1}
    assert load_recipe("other.yaml", ["sampler.eta=0.1", "sampler.name=ddim"]).sampler == Part(
        "ddim", {"eta": 0.1}
    )
    assert load_recipe("tiny.yaml", ["sampler={name: heun}"]).sampler == Part("heun")


def test_names_drop_arguments_below_train_as_well(write):
    path = write(BASE.replace("  lr:", "  noise_level: {name: log_normal, mean: -0.6}\n  lr:"))
    assert load_recipe(path, ["train.noise_level.name=uniform"]).train.noise_level == Part("uniform")
    kept = load_recipe(path, ["train.noise_level.std=1.5"]).train.noise_level
    assert kept == Part("log_normal", {"mean": -0.6, "std": 1.5})


def test_overrides_as_hydra_users_know_them(write):
    path = write()
    recipe = load_recipe(
        path,
        ["train.steps=100", "train.ema_decay=0.9", "+train.keep=3", "~train.batch", "schedule.shift=3.0",
         'sample.prompts=[a, "b, c"]', "train.minutes=null", "description='a b'"],
    )  # fmt: skip
    assert recipe.train == Train(steps=100, ema_decay=0.9, keep=3, lr=1e-3)
    assert recipe.schedule == Part("flow", {"shift": 3.0})
    assert recipe.sample.prompts == ("a", "b, c")
    assert recipe.description == "a b"


def test_a_single_file_composes_to_itself(write):
    text = (
        BASE
        + 'evaluate: {a: [1, -2.5e-7, true, null, "1e3", "no", ""], b: {c: "${seed}", d: 12345678901234567890}}\n'
    )
    source = reader.read(Path(write(text)))
    assert by_hydra([source], []) == source.data


def test_hydra_is_left_as_it_was(write):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    path = write()
    with initialize_config_dir(str(Path.cwd()), version_base="1.3"):
        mine = GlobalHydra.instance().hydra
        load_recipe(path)
        assert GlobalHydra.instance().hydra is mine
        assert compose("tiny").name == "tiny"
    assert not GlobalHydra.instance().is_initialized()


def test_override_recipe_checks_and_drops_as_loading_does(write):
    recipe = load_recipe(write())
    assert override_recipe(recipe, ["sampler.name=heun"]).sampler == Part("heun")
    with pytest.raises(RecipeError, match="Did you mean 'steps'"):
        override_recipe(recipe, ["sample.step=4"])
    with pytest.raises(RecipeError, match="w.safetensors:1: `defaults`"):
        parse_recipe("defaults: [image_digits]\n", "w.safetensors")


# --- wrong recipes ----------------------------------------------------------------------------------------------

WRONG = [
    # what is replaced, by what, line, fragments of the message
    ("  steps: 10", "  stepz: 10", 11, ["train.stepz", "'stepz'", "minutes", "Did you mean 'steps'?"]),
    ("seed: 1", "sead: 1", 2, ["sead", "Did you mean 'seed'?"]),
    ("  steps: 10", "  steps: ten", 11, ["train.steps", "'ten'", "int"]),
    ("  steps: 10", "  steps: '10'", 11, ["train.steps", "'10'", "int"]),
    ("  steps: 10", "  steps: 10.5", 11, ["train.steps", "10.5", "int"]),
    ("  steps: 10", "  steps: true", 11, ["train.steps", "True", "int"]),
    ("  lr: 1.0e-3", "  lr:", 13, ["train.lr", "None", "float"]),
    ("  lr: 1.0e-3", "  lr: -1.0", 13, ["train.lr", "-1.0", "above 0"]),
    ("  lr: 1.0e-3", "  lr: .nan", 13, ["train.lr", "nan", "finite"]),
    ("  lr: 1.0e-3", "  compile: 1", 13, ["train.compile", "1", "bool"]),
    ("  lr: 1.0e-3", "  cond_dropout: 1.5", 13, ["train.cond_dropout", "1.5", "from 0 to 1"]),
    ("  lr: 1.0e-3", "  huber: 1.0e+30", 13, ["train.huber", "1e+30", "from 0.001 to 100"]),
    ("  lr: 1.0e-3", "  ema_decay: 1.0", 13, ["train.ema_decay", "1.0", "below 1"]),
    ("  lr: 1.0e-3", "  betas: [0.9, 1.0]", 13, ["train.betas", "[0.9, 1.0]", "below 1"]),
    ("  lr: 1.0e-3", "  betas: [0.9]", 13, ["train.betas", "tuple[float, float]"]),
    ("  lr: 1.0e-3", "  accumulate: 3", 13, ["train.accumulate", "3", "divisor", "4"]),
    ("  lr: 1.0e-3", "  precision: fp31", 13, ["train.precision", "'fp31'", "bf16", "Did you mean 'fp32'?"]),
    ("  lr: 1.0e-3", "  objective: {name: flatt}", 13, ["train.objective.name", "Did you mean 'flat'?"]),
    ("  lr: 1.0e-3", "  dropout: 0.1", 13, ["train.dropout", "drop", "cond_dropout", "Did you mean 'cond_dropout'?"]),
    ("  lr: 1.0e-3", "  clip: 1.0", 13, ["train.clip", "Did you mean 'grad_clip'?"]),
    ("  lr: 1.0e-3", "  ema: 0.9", 13, ["train.ema", "Did you mean 'ema_decay'?"]),
    ("  n: 1", "  negative: leaf", 15, ["sample.negative", "Did you mean 'negative_prompt'?"]),
    ("sampler: {name: ddim, eta: 0.5}", "sampler: {name: ddimm}", 8, ["sampler.name", "heun", "Did you mean 'ddim'?"]),
    ("eta: 0.5", "etaa: 0.5", 8, ["sampler.etaa", "Allowed: name, eta.", "Did you mean 'eta'?"]),
    ("eta: 0.5", "eta: high", 8, ["sampler.eta", "'high'", "float"]),
    ("sampler: {name: ddim, eta: 0.5}", "sampler: heun", 8, ["sampler", "'heun'", "Did you mean sampler.name=heun?"]),
    ("sampler: {name: ddim, eta: 0.5}", "sampler: {name: 3}", 8, ["sampler.name", "3", "ddim"]),
    ("widths: [8, 16]", "widths: [8, wide]", 7, ["backbone.widths.1", "int"]),
    ("codec: {name: pixels}", "codec: {unshuffle: 2}", 5, ["codec.name", "missing", "pixels"]),
    ("data: {name: digits}", "data: [digits]", 4, ["data", "{name: ..., its arguments}"]),
    ("name: tiny", "name: ../../etc", 1, ["name", "'../../etc'", "folder name"]),
    ("  n: 1", "  n: 0", 15, ["sample.n", "0", "at least 1"]),
    ("  n: 1", "  polish: {noise: 2.0}", 15, ["sample.polish.noise", "2.0", "from 0.001 to 1"]),
    ('prompts: ["0"]', "prompts: []", 17, ["sample.prompts", "at least one prompt"]),
    ('prompts: ["0"]', "prompts: [0]", 17, ["sample.prompts.0", "str"]),
    ('prompts: ["0"]', "prompts: ${sample.promts}", 17, ["sample.prompts", "Did you mean 'sample.prompts'?"]),
    ("seed: 1", "seed: ${seed}", 2, ["seed", "refers back to itself"]),
    ("seed: 1", "seed: 1\nseed: 2", 3, ["'seed'", "twice"]),
    ("data: {name: digits}", "data: {name: '???'}", 4, ["data.name", "not set yet"]),
    ("seed: 1", "seed: [1", 3, ["not valid YAML"]),
    ("seed: 1", "<<: {seed: 1}", 2, ["<<", "defaults"]),
    ("seed: 1", "1: seed", 2, ["1", "Keys are words"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "fragments"), WRONG, ids=[w[1].strip() for w in WRONG])
def test_wrong_recipes_name_file_line_place_and_nearest(write, old, new, line, fragments):
    assert BASE.count(old) == 1
    text = refusal(write(BASE.replace(old, new)))
    assert text.startswith(f"tiny.yaml:{line}: "), text
    for fragment in fragments:
        assert fragment in text


def test_missing_keys_are_named(write):
    assert "codec: missing" in refusal(write(BASE.replace("codec: {name: pixels}\n", "")))
    assert "train: neither steps nor minutes is set" in refusal(write(BASE.replace("  steps: 10\n", "")))
    assert "a recipe is a mapping" in refusal(write("- 1\n"))
    assert "a recipe is a mapping" in refusal(write(""))


def test_a_fault_in_an_extended_file_is_placed_there(write):
    write(BASE.replace("  lr: 1.0e-3", "  lr: fast"))
    child = write("defaults: [tiny]\nname: child\n", "child.yaml")
    assert refusal(child).startswith("tiny.yaml:13: train.lr")
    assert refusal(child, "train.lr=slow").startswith("command line: train.lr: 'slow'")
    assert refusal(write(), "sample.polsh.passes=1").startswith("command line: sample.polsh: 'polsh'")


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("train.lr=", ["train.lr", "''", "float"]),
        ("train.stepz=3", ["train.stepz", "Did you mean 'steps'?"]),
        ("+sampler.etta=1", ["sampler.etta", "Did you mean 'eta'?"]),
        ("+train.lr=1", ["train.lr", "already"]),
        ("~train.nothing", ["train.nothing", "does not exist"]),
        ("steps", ["steps", "not an override", "key=value"]),
        ("train.steps=1,2", ["several values", "-m"]),
        ("hydra.run.dir=x", ["Hydra's own settings", "-m"]),
        ("hydra/launcher=x", ["Hydra's own settings", "-m"]),
        ("sampler.name=heun", []),
        ("defaults=[x]", ["defaults"]),
        ("sampler.name=null", ["sampler.name: missing", "heun"]),
        ("sampler.nam=heun", ["sampler.nam", "Did you mean 'name'?"]),
        ("train.steps=" + "9" * 5000, ["not an override"]),
        ("evaluate.x=" + "[" * 1000 + "]" * 1000, ["not an override"]),
        ("train=3", ["train", "3", "a mapping"]),
    ],
)
def test_wrong_overrides_are_named_as_the_command_lines(write, override, fragments):
    if not fragments:  # the control: this one is right
        load_recipe(write(), [override])
        return
    text = refusal(write(), override)
    assert text.startswith("command line: ")
    for fragment in fragments:
        assert fragment in text


def test_impossible_combinations_are_refused_before_any_work(write):
    recipe = load_recipe(write())
    check_combination(recipe)
    wrong = {
        "timesteps (trailing)": {"timesteps": Part("trailing")},
        "schedule (flow)": {"schedule": Part("flow", {"shift": -1.0})},
        "sample": {"sample": dataclasses.replace(recipe.sample, duration=2.0)},
        "codec (pixels)": {"codec": Part("pixels", {"unshuffle": 3})},
        "prediction (eps)": {"prediction": Part("eps")},
        "train.noise_level (logit_normal)": {"schedule": Part("edm"), "timesteps": Part("karras")},
    }
    for fragment, change in wrong.items():
        with pytest.raises(RecipeError) as error:
            check_combination(dataclasses.replace(recipe, **change))
        assert str(error.value).startswith(fragment), str(error.value)


def test_three_axes_with_a_mel_codec_are_refused(write):
    video = BASE.replace("{name: image, size: 8, channels: 1}", "{name: video, size: 8}")
    recipe = load_recipe(write(video.replace("{name: pixels}", "{name: mel}")))
    with pytest.raises(RecipeError, match=r"^codec \(mel\).*video.*3 axes"):
        check_combination(recipe)


# --- attacks ----------------------------------------------------------------------------------------------------

SECRET = "a-secret-of-this-machine"


@pytest.fixture
def trap(write, tmp_path, monkeypatch):
    """A module that leaves a mark when imported, a secret in the environment, and a check that neither was touched."""
    mark = tmp_path / "mark"
    (tmp_path / "trapmodule.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nfire = print\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MULTIGEN_TEST_SECRET", SECRET)
    monkeypatch.delitem(sys.modules, "trapmodule", raising=False)
    write()
    before = {p.name for p in tmp_path.iterdir()}

    def untouched(path: str, *overrides: str) -> str:
        before.add(path)
        text = refusal(path, *overrides)
        assert not mark.exists()
        assert "trapmodule" not in sys.modules
        assert SECRET not in text
        assert {p.name for p in tmp_path.iterdir()} == before
        return text

    untouched.mark = mark  # pyright: ignore
    return untouched


def test_the_trap_works(trap):
    """The control: what the attacks below try does leave a mark where nothing stops it."""
    yaml.unsafe_load("!!python/name:trapmodule.fire")
    assert trap.mark.exists()
    from omegaconf import OmegaConf

    assert OmegaConf.create({"x": "${oc.env:MULTIGEN_TEST_SECRET}"}).x == SECRET


ATTACKS = [
    ("seed: {_target_: trapmodule.fire}", "_target_"),
    ("evaluate: {a: [{_target_: trapmodule.fire}]}", "_target_"),
    ("evaluate: {_partial_: true}", "_partial_"),
    ("evaluate: {_args_: [1]}", "_args_"),
    ("evaluate: {_recursive_: false}", "_recursive_"),
    ("evaluate: {__class__: x}", "__class__"),
    ("_self_: 1", "_self_"),
    ("seed: !!python/object/apply:trapmodule.fire [1]", "YAML tag"),
    ("seed: !!python/name:trapmodule.fire ''", "YAML tag"),
    ("seed: !!str 1", "YAML tag"),
    ("seed: !fire 1", "YAML tag"),
    ("seed: ! 1", "YAML tag"),
    ("? !!python/name:trapmodule.fire ''\n: 1", "YAML tag"),
    ("description: ${oc.env:MULTIGEN_TEST_SECRET}", "interpolation"),
    ("description: 'x ${oc.env:MULTIGEN_TEST_SECRET} y'", "interpolation"),
    ("description: ${oc.decode:'1'}", "interpolation"),
    ("description: ${oc.create:{a:1}}", "interpolation"),
    ("description: ${now:%Y}", "interpolation"),
    ("description: ${hydra:runtime.cwd}", "interpolation"),
    ("description: ${hydra.runtime.cwd}", "Hydra's own settings"),
    ("description: ${.name}", "interpolation"),
    ("description: ${..name}", "interpolation"),
    ("description: ${${name}}", "interpolation"),
    ("description: ${name", "interpolation"),
    ("description: '\\${oc.env:MULTIGEN_TEST_SECRET}'", "interpolation"),
    ("evaluate: {'${oc.env:MULTIGEN_TEST_SECRET}': 1}", "key"),
    ("hydra: {callbacks: {x: {a: 1}}}", "hydra"),
    ("hydra: {searchpath: ['pkg://trapmodule']}", "hydra"),
    ("hydra.searchpath: ['pkg://trapmodule']", "hydra.searchpath"),
    ("defaults: [{hydra/launcher: basic}, _self_]", "defaults"),
    ("defaults: [{override hydra/launcher: basic}, _self_]", "defaults"),
    ("defaults: [hydra/launcher, _self_]", "defaults"),
    ("defaults: ['pkg://trapmodule', _self_]", "defaults"),
    ("defaults: ['../tiny', _self_]", "defaults"),
    ("defaults: [/etc/passwd, _self_]", "defaults"),
    ("defaults: ['file:///etc/passwd']", "defaults"),
    ("defaults: [tiny@_global_]", "defaults"),
    ("defaults: [{tiny: null}]", "defaults"),
    ("defaults: [tiny, tiny]", "twice"),
    ("defaults: [attack]", "nor"),
    ("guide: {name: trapmodule.fire}", "import paths"),
    ("guide: {name: 'trapmodule:fire'}", "import paths"),
    ("guide: {name: ./trapmodule.py}", "import paths"),
    ("train: {steps: 1, objective: {name: trapmodule.fire}}", "import paths"),
    ("%YAML 1.1\n---\nseed: 1", "directives"),
    ("seed: 1\n---\nseed: 2", "second YAML document"),
    ("# @package _global_\nseed: 1", "@package"),
    ("evaluate: {a: &x [*x]}", "expand"),
    ("seed: 1\x00", "YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "fragment"), ATTACKS, ids=[a[0][:50] for a in ATTACKS])
def test_attacks_in_files_are_refused_without_side_effects(trap, attack, fragment):
    if "[attack]" in attack:
        fragment = "recipes beside the file"
    Path("attack.yaml").write_text(attack + "\n", encoding="utf-8")
    text = trap("attack.yaml")
    assert text.startswith("attack.yaml:")
    assert text.split(":")[1].isdecimal()  # the line
    assert fragment in text


@pytest.mark.parametrize(
    "override",
    [
        "sampler._target_=trapmodule.fire",
        "+evaluate={_target_: trapmodule.fire}",
        "+evaluate={a: [{_args_: 1}]}",
        "sampler.name=trapmodule.fire",
        "sampler={name: trapmodule.fire}",
        "description=${oc.env:MULTIGEN_TEST_SECRET}",
        "description='${oc.env:MULTIGEN_TEST_SECRET}'",
        "+evaluate={a: '${now:%Y}'}",
        "+evaluate.${name}=1",
        "+x@y=1",
        "+hydra={a: 1}",
        "sampler/x=1",
        "description=\\${oc.env:MULTIGEN_TEST_SECRET}",
    ],
)
def test_attacks_in_overrides_are_refused_without_side_effects(trap, override):
    assert trap("tiny.yaml", override).startswith("command line: ")


def test_an_attack_in_an_extended_file_is_refused(trap):
    Path("bad.yaml").write_text("seed: !!python/name:trapmodule.fire ''\n")
    Path("child.yaml").write_text("defaults: [tiny, bad]\n")
    with pytest.raises(RecipeError, match=r"^bad.yaml:1: the YAML tag"):
        load_recipe("child.yaml")
    assert not trap.mark.exists()


def test_exploding_aliases_and_references_end_at_once(write):
    lines = ["evaluate:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "expand" in refusal(write("\n".join(lines), "laughs.yaml"))
    lines = ["evaluate:", "  a0: [x, x, x, x, x, x, x, x, x, x]"]
    tenfold = {i: ", ".join([f"'${{evaluate.a{i - 1}}}'"] * 10) for i in range(1, 10)}
    lines += [f"  a{i}: [{references}]" for i, references in tenfold.items()]
    assert "expand" in refusal(write("\n".join(lines), "references.yaml"))
    lines = ["a0: xxxxxxxxxx"] + [f"a{i}: {f'${{a{i - 1}}}' * 10}" for i in range(1, 10)]
    assert "expand" in refusal(write("\n".join(lines), "texts.yaml"))
    big = f"a: &a {'x' * 100_000}\nevaluate: [{', '.join(['*a'] * 100)}]\n"
    assert "expand" in refusal(write(big, "big.yaml"))


def test_deep_large_and_binary_files_are_refused(write):
    assert "nested deeper" in refusal(write("evaluate: " + "[" * 5000 + "]" * 5000, "deep.yaml"))
    assert "larger than 262,144 bytes" in refusal(write("#" * 300_000, "large.yaml"))
    Path("binary.yaml").write_bytes(b"name: a\nseed: \xff\xfe\n")
    assert refusal("binary.yaml").startswith("binary.yaml:2: not UTF-8")
    os.mkfifo("pipe.yaml")
    assert "no such file" in refusal("pipe.yaml")


def test_recipes_that_extend_one_another_in_a_ring_are_refused(write):
    write("defaults: [b]\n", "a.yaml")
    write("defaults: [a]\n", "b.yaml")
    assert "extends itself" in refusal("a.yaml")


def test_the_shipped_recipes_are_plain_and_described(monkeypatch):
    for name, path in recipe_source.shipped().items():
        source = reader.read(path)
        assert source.data.get("name", name) == name
        assert source.data.get("description") or source.defaults != ["_self_"]


def test_a_part_registered_in_a_script_is_checked_like_the_others(write, monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))

    @registry.register("sampler", "mine")
    def mine(schedule, x, ts, noise, *, strength: float = 1.0):
        return x

    path = write()
    assert load_recipe(path, ["sampler.name=mine", "sampler.strength=2"]).sampler == Part(
        "mine", {"strength": 2}
    )
    assert "Did you mean 'strength'?" in refusal(path, "sampler.name=mine", "sampler.strenght=2")
