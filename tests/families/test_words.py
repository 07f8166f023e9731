"""Textual inversion on pipelines: files of others are heard as in diffusers, and diffusers hears what we train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import multigen
from multigen.conditioners.diffusers import Diffusers
from multigen.errors import MultigenError, RecipeError
from multigen.model.adapters import attach
from multigen.model.export import export
from multigen.model.source import find
from multigen.recipe.load import override_recipe
from multigen.storage import words
from multigen.training import checkpoint as checkpoints
from tests.families import sounding
from tests.families.test_families import Loaded, opened
from tests.families.tuning import tuning

import diffusers  # isort: skip  # after tests.families.test_families, which makes torchaudio importable

PROMPTS = ["a <Cat> apple", "blue car, (<cat>:1.0) on <dog>"]


@pytest.fixture(scope="module", params=["stable diffusion 1", "stable diffusion xl"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return opened(request.param, tmp_path_factory.mktemp("words"))


def rows(n: int, seed: int) -> Tensor:
    return torch.randn(n, 32, generator=torch.Generator().manual_seed(seed))


def theirs(folder: Path, taught: dict[str, dict[str, Tensor]], prompts: list[str]) -> list[Tensor]:
    """The states that diffusers' pipeline gives its network, of words with vectors for each encoder."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    for token, vectors in taught.items():
        for place, value in vectors.items():
            end = "_2" if place == "clip_g" else ""
            options = {
                "text_encoder": getattr(pipe, f"text_encoder{end}"),
                "tokenizer": getattr(pipe, f"tokenizer{end}"),
            }
            pipe.load_textual_inversion({token: value}, **options)
    found = pipe.encode_prompt(
        prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return [part for part in found if part is not None]


def ours(folder: Path, adapters: list[str], prompts: list[str]) -> list[Tensor]:
    found = find(folder)
    recipe = override_recipe(found.recipe, [f"adapters=[{', '.join(adapters)}]"])
    cond = multigen.Model.of(found, recipe, device="cpu").encode(*prompts)
    return [part for part in (cond.tokens, cond.vector) if part is not None]


def taught(path: Path, token: str) -> str:
    return f"{{name: textual_inversion, path: '{path}', token: '{token}'}}"


@pytest.mark.parametrize("form", ["diffusers", "a1111", "several"])
def test_files_are_heard_as_in_diffusers(form: str, loaded: Loaded, tmp_path: Path) -> None:
    xl = len(loaded.model.conditioner.hosts()) > 1
    if form == "several" and not xl:
        pytest.skip("it has one text encoder")
    cat, dog = rows(3, 1), rows(1, 2)
    if form == "several":
        both = {"clip_l": cat, "clip_g": rows(2, 3)}
        save_file(both, tmp_path / "cat.safetensors")
    else:
        both = {"clip_l": cat}
        save_file({"<cat>" if form == "diffusers" else "emb_params": cat}, tmp_path / "cat.safetensors")
    save_file({"whatever": dog[0]}, tmp_path / "dog.safetensors")
    adapters = [taught(tmp_path / "cat.safetensors", "<cat>"), taught(tmp_path / "dog.safetensors", "<dog>")]
    made = ours(loaded.folder, adapters, PROMPTS)
    prompts = ["a <cat> apple", "blue car, <cat> on <dog>"]
    for mine, other in zip(
        made, theirs(loaded.folder, {"<cat>": both, "<dog>": {"clip_l": dog}}, prompts), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)
    plain = ours(loaded.folder, [], PROMPTS)
    assert (plain[0] - made[0]).abs().max() > 0.1


def test_a_trained_word_is_heard_in_diffusers_and_nothing_else_has_moved(
    loaded: Loaded, tmp_path: Path
) -> None:
    name = "stable diffusion xl" if len(loaded.model.conditioner.hosts()) > 1 else "stable diffusion 1"
    part = "train.adapter={name: textual_inversion, token: '<cat>', vectors: 2, like: red apple}"
    recipe = tuning(name, loaded.folder, tmp_path / "media", part)
    model = multigen.train(recipe, out=tmp_path / "run", device="cpu", quiet=True)
    newest = checkpoints.newest(tmp_path / "run" / "checkpoints")
    assert newest is not None
    learned = checkpoints.load(newest).tensors["weights"]
    encoders = ["clip_l", "clip_g"][: len(learned)]
    assert sorted(learned) == sorted(f"conditioner.new_words.{one}" for one in encoders)
    base, conditioner = loaded.model, model.conditioner
    assert isinstance(conditioner, Diffusers)
    assert model.weights_hash() == base.weights_hash()
    for mine, other in zip(conditioner.hosts(), base.conditioner.hosts(), strict=True):
        now, before = mine.load().state_dict(), other.load().state_dict()
        table = next(k for k in before if "token_embedding" in k)
        kept = {
            k.replace("token_embedding.table", "token_embedding"): v
            for k, v in now.items()
            if "rows" not in k
        }
        assert all(torch.equal(kept[k], before[k]) for k in before) and len(kept) == len(before)
        rows = next(v for k, v in now.items() if k.endswith("rows"))
        first = before[table][[conditioner.encoders[0].tokenizer.numbers(w)[0] for w in ("red", "apple")]]
        assert (rows - first).abs().max() > 1e-3
    file = tmp_path / "run" / words.FILE
    vectors = load_file(file)
    both = vectors if len(encoders) > 1 else {"clip_l": vectors["<cat>"]}
    prompts = ["a <cat> apple", "blue car"]
    pairs = zip(
        (c := model.encode(*prompts)).tokens, theirs(loaded.folder, {"<cat>": both}, prompts)[0], strict=True
    )
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)
    for place in (file, tmp_path / "run"):
        adapter = f"{{name: textual_inversion, path: '{place}'}}"
        assert torch.equal(ours(loaded.folder, [adapter], prompts)[0], c.tokens)


def test_bad_words_are_refused(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = opened("stable diffusion 1", tmp_path_factory.mktemp("bad")).folder
    save_file({"<cat>": rows(1, 0)}, tmp_path / "cat.safetensors")
    save_file({"<cat>": torch.ones(1, 48)}, tmp_path / "wide.safetensors")
    save_file({"clip_g": rows(1, 0)}, tmp_path / "xl.safetensors")
    save_file({"a": rows(1, 0), "b": rows(1, 0)}, tmp_path / "two.safetensors")
    save_file({"emb_params": rows(1, 0)}, tmp_path / "nameless.safetensors")
    torch.save({"*": rows(1, 0)}, tmp_path / "cat.pt")
    model = multigen.load(folder, device="cpu")
    cat = tmp_path / "cat.safetensors"
    for adapters, why in {
        (taught(cat, "apple"),): "token 'apple' is not allowed: the vocabulary has it already",
        (taught(cat, "a cat"),): "token 'a cat' is not allowed. Allowed: a word without blanks",
        (taught(cat, "<a>"), taught(cat, "<A>")): "token '<a>' is not allowed: two embeddings have it",
        (
            taught(tmp_path / "wide.safetensors", "<w>"),
        ): "this embedding is for another text encoder: 48 numbers a vector, and here clip_l 32",
        (
            taught(tmp_path / "xl.safetensors", "<w>"),
        ): "it has vectors for clip_g, which this model does not have",
        (taught(tmp_path / "two.safetensors", "<w>"),): "it holds no embedding of one word: 2 tensors",
        (
            f"{{name: textual_inversion, path: '{tmp_path / 'nameless.safetensors'}'}}",
        ): "it does not name its word",
        (
            taught(tmp_path / "cat.pt", "<w>"),
        ): "never from pickles .* multigen convert .*cat.pt .*cat.safetensors",
    }.items():
        recipe = override_recipe(model.recipe, [f"adapters=[{', '.join(adapters)}]"])
        with pytest.raises(MultigenError, match=why) as caught:
            attach(model.denoiser, model.conditioner, recipe.adapters)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(MultigenError, match="learns no new words. Allowed: pipelines"):
        multigen.load("image_digits", device="cpu").conditioner.teach([words.read(cat, None)])
    for part, why in {
        "token: apple": "train.adapter: token 'apple' is not allowed: the vocabulary",
        "token: '<c>', vectors: 0": "vectors: 0 is not allowed. Allowed: a whole number from 1 to 64",
        "token: '<c>', template: a photo": "template: 'a photo' is not allowed",
    }.items():
        recipe = tuning(
            "stable diffusion 1",
            folder,
            tmp_path / "media",
            f"train.adapter={{name: textual_inversion, {part}}}",
        )
        with pytest.raises(RecipeError, match=why):
            multigen.train(recipe, out=tmp_path / "run", device="cpu", quiet=True)


def test_a_word_is_passed_on_and_loads_from_a_checkpoint(tmp_path: Path) -> None:
    folder = opened("stable diffusion 1", tmp_path).folder
    part = "train.adapter={name: textual_inversion, token: '<cat>'}"
    run = tmp_path / "run"
    whole = multigen.train(
        tuning("stable diffusion 1", folder, tmp_path / "media", part), out=run, device="cpu", quiet=True
    )
    file = export(run, tmp_path / "cat.safetensors")
    assert file.read_bytes() == (run / words.FILE).read_bytes()
    with pytest.raises(
        MultigenError, match="What it trained is learned_embeds.safetensors in it, which diffusers reads"
    ):
        export(run, tmp_path / "folder", to="diffusers")
    (run / words.FILE).unlink()
    half = multigen.load(run, device="cpu")
    heard, again = whole.encode("a <cat>").tokens, half.encode("a <cat>").tokens
    assert heard is not None and again is not None and torch.equal(heard, again)


def test_clap_takes_no_new_words(tmp_path: Path) -> None:
    model = multigen.load(sounding.musicldm(tmp_path / "musicldm" / "pipeline"), device="cpu")
    with pytest.raises(MultigenError, match=r"no text encoder that takes new words\. Allowed: CLIP and T5"):
        model.conditioner.learn_word("<cat>", 1, None, 0)
