"""Each shipped recipe, a few steps of it, from media on disk to media on disk."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch

import multigen
import multigen.errors
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Note, Piece, roll_of
from multigen.modalities.video import Video
from multigen.model.export import export
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import read, verify
from multigen.recipe.sampling import without_decoding
from multigen.recipe.source import shipped
from multigen.runs import jobs as runs
from multigen.runs.evaluate import evaluate
from multigen.runs.film import film
from multigen.runs.sample import sample
from tests.model.pipelines import tiny_pipeline

SMALL = [
    "train.steps=2",
    "train.minutes=null",
    "train.batch=2",
    "train.preview_every=1",
    "train.tensorboard=false",
    "backbone.widths=[16,32]",
    "backbone.attention=[false,true]",
    "sample.steps=2",
    "sample.n=1",
    "weights=null",
]
SOUND = ["modality.seconds=1.5", "sample.duration=2"]
CLIP = ["modality.size=16", "modality.frames=4"]
OWN = {
    "image_digits": ["sample.prompts=['3','8']"],
    "image_emoji": ["data.count=8", "modality.size=32", "sample.prompts=['red apple','']"],
    "image_emoji_styles": [
        f"data.path={Path(__file__).parent / 'datasets' / 'emoji'}",
        "modality.size=32",
        "sample.prompts=['red apple, 3D','']",
    ],
    "image_emoji_large": [
        f"data.path={Path(__file__).parent / 'datasets' / 'emoji'}",
        "modality.size=112",
        "stages=[image_digits]",
        "sample.prompts=['3']",
    ],
    "audio_music": [
        *SOUND,
        "data.pieces=3",
        "data.instruments=[church organ,flute]",
        "data.workers=1",
        "sample.prompts=['church organ, G major, 92 bpm']",
    ],
    "audio_chorales": [
        *SOUND,
        "data.pieces=3",
        "data.workers=1",
        "sample.prompts=['church organ, G major, 92 bpm']",
    ],
    "audio_speech": ["modality.seconds=1.024", "data.sentences=9", "sample.prompts=['rms: Yes.']"],
    "notes_chorales": ["data.pieces=3", "modality.quarters=8", "sample.prompts=['G major, 92 bpm']"],
    "notes_folder": ["data.path=media", "modality.quarters=8"],
    "video_moving_emoji": [*CLIP, "data.count=4", "sample.prompts=['red apple moving left']"],
    "video_emoji_styles": [
        *CLIP,
        f"data.path={Path(__file__).parent / 'datasets' / 'emoji'}",
        "sample.prompts=['red apple bouncing, 3D','']",
    ],
    "audio_for_video": ["data.count=2", "codec.iterations=2", "sample.suffix=null"],
    "video_for_audio": ["modality.size=16", "train.init=null", "data.count=2"],
    "video_from_image": ["modality.size=16", "modality.frames=4", "train.init=null", "data.of.count=4"],
    "image_control": ["modality.size=32", "train.init=null", "data.of.count=8"],
    "image_folder": ["data.path=media", "modality.size=32"],
    "image_panorama": ["data.path=media", "modality.size=[16,32]"],
    "image_sprites": ["data.path=media"],
    "image_phantoms": ["data.count=6", "modality.size=32", "sample.prompts=[healthy head]"],
    "audio_folder": [*SOUND, "data.path=media"],
    "video_folder": [*CLIP, "data.path=media", "train.workers=0"],
    "volume_phantoms": [
        "data.count=8",
        "modality.size=16",
        "modality.depth=4",
        "sample.prompts=[healthy head]",
    ],
}


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which music is rendered once for all."""
    return tmp_path_factory.mktemp("renders")


def files(name: str, folder: Path) -> None:
    """Six files of the user's, of a size and rate that are not the recipe's."""
    for k in range(6):
        rng = torch.Generator().manual_seed(k)
        if name in ("image_folder", "image_panorama", "image_sprites"):
            sides = (25, 50) if name == "image_panorama" else (50, 41)
            media = torch.rand(4 if name == "image_sprites" else 3, *sides, generator=rng) * 2 - 1
            Image().write(media, folder / f"{k}.png")
        elif name == "notes_folder":
            notes = tuple(Note(8 * n, 8, 60 + (k * n) % 12) for n in range(12))
            piece = Piece(96, (notes,), (0,), ((0, 500_000),), (Key(0, 0, ""),), 4, (0,))
            Notes(parts=1).write(roll_of(piece), folder / f"{k}.mid")
        elif name == "audio_folder":
            t = torch.arange(3 * 16000) / 16000
            media = 0.5 * torch.sin(2 * math.pi * 220 * (k + 1) * t)[None]
            Audio(rate=16000).write(media + 0.01 * torch.randn(t.shape, generator=rng), folder / f"{k}.wav")
        else:
            media = torch.rand(3, 9, 24, 36, generator=rng) * 2 - 1
            Video(fps=12).write(media, folder / f"{k}.mp4")
        (folder / f"{k}.txt").write_text(f"number {k}")


def test_every_shipped_recipe_has_a_smoke_run() -> None:
    others = {
        "lora_emoji",
        "vocoder_music",
        "vocoder_speech",
        "image_stable_diffusion",
        "vae_folder",
        "image_latent",
        "erase_emoji",
        "video_frames",
        "video_large",
        *TUNED,
        *DISTILLED,
    }
    assert {*OWN, *others} == set(shipped())


def test_a_lora_is_tuned_on_the_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    files("image_folder", tmp_path / "media")
    fast = [
        "train.steps=1",
        "train.batch=1",
        "train.warmup=0",
        "train.ema_decay=0",
        "train.tensorboard=false",
    ]
    own = ["data.path=media", "sample.prompts=['red apple']", "sample.n=1", "sample.steps=1", *fast]
    folder = runs.run(load_recipe("lora_emoji", own), device="cpu", quiet=True)
    assert verify(folder) == []
    assert not (folder / "weights.safetensors").exists()
    model, base = (multigen.load(source, device="cpu") for source in ("lora_emoji", "image_emoji"))
    assert model.weights_hash() == read(folder)["files"][0]["weights_hash"] != base.weights_hash()  # type: ignore[index]
    with model.bare():
        assert model.weights_hash() == base.weights_hash()


DISTILLED = {
    "distill_emoji": "image_emoji",
    "distill_music": "audio_music",
    "distill_video": "video_moving_emoji",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name != "distill_emoji" else ()) for name in DISTILLED],
)
def test_a_student_is_distilled_from_the_shipped_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = DISTILLED[name]
    few = ["train.steps=1", "train.batch=1", "train.warmup=0", "train.ema_decay=0", "train.tensorboard=false"]
    few += [f"sample.prompts=['{load_recipe(teacher).sample.prompts[0]}']", "sample.n=1", "train.lr=0.1"]
    few += ["sample.steps=1", "train.held_out_every=0"]  # held-out losses would ask the teacher 60 times more
    few += [one for one in OWN[teacher] if one.startswith("data.")]
    folder = runs.run(load_recipe(name, few), device="cpu", quiet=True)
    assert verify(folder) == []
    file = export(folder, tmp_path / "student.safetensors", half=True)
    assert file.stat().st_size <= 6_000_000
    student, base = (multigen.load(teacher, fast=fast, device="cpu") for fast in (str(file), False))
    assert student.recipe.sample.steps == 1 and student.recipe.sampler.name == "ddim"
    assert student.weights_hash() != base.weights_hash()


def test_a_concept_is_erased_beside_the_shipped_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["train.steps=1", "train.batch=2", "train.warmup=0", "train.ema_decay=0", "train.tensorboard=false"]
    few += ["sample.n=1", "sample.steps=1", "sample.prompts=[hamburger]", "train.lr=0.1"]
    folder = runs.run(load_recipe("erase_emoji", few), device="cpu", quiet=True)
    assert verify(folder) == []
    base = multigen.load("image_emoji", device="cpu")
    erased = multigen.load("image_emoji", loras={str(folder): 1.0}, device="cpu")
    assert erased.weights_hash() != base.weights_hash()
    method = load_recipe("erase_emoji").train.distill
    assert method is not None and "hamburger" in method.method.args["prompts"]


TUNED = {
    "dreambooth": (["train.prior.count=1"], "pytorch_lora_weights.safetensors"),
    "controlnet": (["data.controls=controls"], "controlnet/config.json"),
}


@pytest.mark.parametrize("name", TUNED)
def test_stable_diffusion_is_tuned(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_pipeline(tmp_path / "pipeline")
    for folder in ("media", "controls"):
        (tmp_path / folder).mkdir()
        files("image_folder", tmp_path / folder)
    overrides, left = TUNED[name]
    own = ["backbone.path=pipeline", "modality.size=16", "data.path=media", "train.steps=1", "train.batch=1"]
    own += ["train.tensorboard=false", "sample.steps=1", "sample.prompts=['red apple']", *overrides]
    run = runs.run(load_recipe(name, own), device="cpu", quiet=True)
    assert verify(run) == []
    assert (run / left).is_file() and not (run / "weights.safetensors").exists()


def test_stable_diffusion_samples_with_its_folders_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = tiny_pipeline(tmp_path / "pipeline")
    own = ["backbone.path=pipeline", "modality.size=16", "sample.steps=2"]
    recipe = load_recipe("image_stable_diffusion", own)
    folder = runs.run(recipe, device="cpu", quiet=True)
    manifest = read(folder)
    assert manifest is not None
    assert verify(folder) == []
    assert [entry["prompt"] for entry in manifest["files"]] == list(recipe.sample.prompts)
    # Nothing of the weights is in the run folder; it knows where they are.
    assert not list(folder.rglob("*.safetensors"))
    here, there = (multigen.load(source, device="cpu").weights_hash() for source in (folder, pipeline))
    assert here == there == manifest["files"][0]["weights_hash"]


@pytest.mark.slow
def test_a_vocoder_is_trained_and_heard_in_music(
    tmp_path: Path, renders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTIGEN_CACHE", str(renders))
    data = ["data.pieces=3", "data.instruments=[church organ,flute]", "data.workers=1"]
    fast = ["train.steps=2", "train.minutes=null", "train.batch=2", "train.tensorboard=false"]
    own = [
        "codec.width=16",
        "codec.blocks=1",
        "train.critic.channels=2",
        "train.critic.start=0",
        "sample.n=1",
    ]
    preview = ["train.preview_every=1", "train.held_out_every=1"]
    folder = runs.run(
        load_recipe("vocoder_music", ["weights=null", *data, *fast, *own, *preview, SOUND[0]]),
        device="cpu",
        quiet=True,
    )
    manifest = read(folder)
    assert manifest is not None
    assert verify(folder) == []
    assert [e["prompt"].rpartition(", ")[2] for e in manifest["files"]] == ["original", "copy"]
    assert list((folder / "previews").glob("*.png"))
    music = [*data, *SMALL, *OWN["audio_music"]]
    heard = runs.run(
        load_recipe("audio_music", [*music, f"codec.vocoder={folder}", "codec.width=16", "codec.blocks=1"]),
        device="cpu",
        quiet=True,
    )
    prompt = "church organ, G major, 92 bpm"
    neural = multigen.load(heard, device="cpu").generate(prompt)[0].tensor
    # Whoever samples may take another vocoder: the same music, sounded otherwise.
    again = sample(
        str(heard), overrides=["codec.vocoder=griffin_lim"], out=tmp_path / "again", device="cpu", quiet=True
    )
    plain = multigen.load(heard, device="cpu").modality.read(next((again / "media").glob("*.wav")))
    assert plain.shape == neural.shape
    assert (plain - neural).abs().max() > 1e-3


@pytest.mark.slow
def test_a_vae_is_trained_and_pictures_are_made_in_its_latents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "media").mkdir()
    files("image_folder", tmp_path / "media")
    fast = [
        "train.steps=2",
        "train.minutes=null",
        "train.batch=2",
        "train.tensorboard=false",
        "data.path=media",
    ]
    own = [
        "codec.widths=[8,16]",
        "modality.size=32",
        "train.critic={name: patches, channels: 4, start: 0}",
        "train.preview_every=1",
        "train.held_out_every=1",
        "data.held_out=0.4",
        "sample.n=2",
    ]
    folder = runs.run(load_recipe("vae_folder", [*fast, *own]), device="cpu", quiet=True)
    manifest = read(folder)
    assert manifest is not None
    assert verify(folder) == []
    assert [e["prompt"].rpartition(", ")[2] for e in manifest["files"]] == ["original", "copy"] * 2
    assert list((folder / "previews").glob("*.png"))
    report = evaluate(folder, "evaluate.n=8", device="cpu", quiet=True)
    assert {m.metric for m in report.measures} == {"psnr", "ssim"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "psnr" in page and "Evaluation: latents" in page and page.count("data:image/png") >= 4
    # Latent diffusion on it: the pictures are encoded once, also for a second run.
    latent = [
        *SMALL,
        "data.path=media",
        "modality.size=32",
        f"codec.weights={folder}",
        "sample.prompts=['number 1','']",
    ]
    made = runs.run(load_recipe("image_latent", latent), device="cpu", quiet=True)
    entries = sorted((tmp_path / "cache" / "encoded").glob("*/*.f32"))
    assert entries
    runs.run(load_recipe("image_latent", latent), out=tmp_path / "again", device="cpu", quiet=True)
    assert sorted((tmp_path / "cache" / "encoded").glob("*/*.f32")) == entries
    weights = [(f / "weights.safetensors").read_bytes() for f in (made, tmp_path / "again")]
    assert weights[0] == weights[1]
    # What is passed on needs no VAE beside it.
    file = export(made, tmp_path / "model.safetensors")
    wanted = multigen.load(made, device="cpu").generate("number 1", seed=4)[0].tensor
    folder.rename(tmp_path / "elsewhere")
    assert torch.equal(multigen.load(file, device="cpu").generate("number 1", seed=4)[0].tensor, wanted)
    with pytest.raises(multigen.errors.MultigenError, match=r"codec\.weights: .*RUN/weights\.safetensors"):
        multigen.load(made, device="cpu")


@pytest.mark.parametrize("name", ["video_frames", "video_large"])
def test_a_model_of_films_is_trained_on_clips_and_makes_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    files(name, tmp_path / "media")
    few = [
        "backbone.widths=[8,16,16]",
        "modality.frames=4",
        "modality.size=16",
        "train.workers=0",
        "data.path=media",
    ]
    small = [one for one in SMALL if not one.startswith(("backbone", "sample", "weights"))]
    folder = runs.train(load_recipe(name, [*small, *few]), device="cpu", quiet=True)
    out = film(str(folder), tmp_path / "media" / "0.mp4", tmp_path / "out.mp4", device="cpu", quiet=True)
    before, made = (Video().info(path) for path in (tmp_path / "media" / "0.mp4", out))
    grown = (2 * before.frames, before.width) if name == "video_frames" else (before.frames, 2 * before.width)
    assert (made.frames, made.width) == grown


# What they need is needed by others, too: renders, styles, a stage before, clips with sound.
LIKE_OTHERS = ("audio_chorales", "video_emoji_styles", "image_emoji_large", "video_for_audio")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in OWN]
)
def test_smoke(name: str, tmp_path: Path, renders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTIGEN_CACHE", str(renders))
    if name == "audio_speech" and shutil.which("flite") is None:
        pytest.skip("flite is not installed")
    if "data.path=media" in OWN[name]:
        (tmp_path / "media").mkdir()
        files(name, tmp_path / "media")
    recipe = load_recipe(name, [*SMALL, *OWN[name]])
    folder = runs.run(recipe, device="cpu", quiet=True)
    manifest = read(folder)
    assert manifest is not None
    assert verify(folder) == []
    assert len(manifest["files"]) == len(recipe.sample.prompts)
    model = multigen.load(folder, device="cpu")
    for entry, medium in zip(
        manifest["files"], model.generate(recipe.sample.prompts, seed=recipe.seed), strict=True
    ):
        path = folder / entry["file"]
        assert model.modality.read(path).shape == medium.tensor.shape
        assert path.with_suffix(".png").is_file()
    assert list((folder / "previews").glob("*.png"))
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert recipe.name in report
    before = model.weights_hash()
    again = runs.run(load_recipe(str(folder)), out=folder, device="cpu", quiet=True)
    assert multigen.load(again, device="cpu").weights_hash() == before  # trained already: it only samples
    assert not (folder / "media-1").exists()  # the same recipe and weights: all media are there


def test_the_same_recipe_and_seed_give_the_same_bytes_twice(tmp_path: Path) -> None:
    recipe = load_recipe("image_digits", [*SMALL, *OWN["image_digits"]])
    folders = [runs.run(recipe, out=tmp_path / name, device="cpu", quiet=True) for name in ("a", "b")]
    digests = [[entry["unsigned_sha256"] for entry in read(folder)["files"]] for folder in folders]  # type: ignore[index]
    assert digests[0] == digests[1]
    assert (folders[0] / "weights.safetensors").read_bytes() == (
        folders[1] / "weights.safetensors"
    ).read_bytes()


def test_weights_of_a_former_run_start_a_new_one(tmp_path: Path) -> None:
    settings = [*SMALL, *OWN["image_digits"]]
    first = runs.run(load_recipe("image_digits", settings), out=tmp_path / "a", device="cpu", quiet=True)
    init = [f"train.init={first}", "train.lr=1e-12", "train.steps=1"]
    second = runs.run(
        load_recipe("image_digits", [*settings, *init]), out=tmp_path / "b", device="cpu", quiet=True
    )
    before, after = (multigen.load(f, device="cpu").state_dict() for f in (first, second))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    other = load_recipe("image_digits", [*settings, *init, "backbone.widths=[16,48]"])
    with pytest.raises(multigen.errors.MultigenError, match=r"train\.init .*another model.*expected \["):
        runs.run(other, out=tmp_path / "c", device="cpu", quiet=True)


def test_another_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    settings = [*SMALL, *OWN["image_digits"]]
    folder = runs.run(load_recipe("image_digits", settings), out=tmp_path / "a", device="cpu", quiet=True)
    with pytest.raises(multigen.errors.RecipeError, match=r"train\.lr: 0\.\d+ -> 0\.5.*--out"):
        runs.run(
            load_recipe("image_digits", [*settings, "train.lr=0.5"]), out=folder, device="cpu", quiet=True
        )
    # How long it trains may change.
    longer = load_recipe("image_digits", [*settings, "train.steps=3"])
    runs.run(longer, out=folder, device="cpu", quiet=True)
    assert load_recipe(str(folder)).train.steps == 3


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_a_folder_recipe_can_start_from_its_siblings_weights(kind: str) -> None:
    sibling = {"image": "image_emoji", "audio": "audio_music", "video": "video_moving_emoji"}[kind]
    # Whose vocoder knows their instruments alone.
    mine, theirs = load_recipe(f"{kind}_folder"), without_decoding(load_recipe(sibling))
    for part in ("codec", "backbone", "schedule", "prediction"):
        assert getattr(mine, part) == getattr(theirs, part), part
    # Songs in a folder have no score that says where their beats are.
    assert mine.conditioner.name == {"music_text": "text"}.get(
        theirs.conditioner.name, theirs.conditioner.name
    )
    found = find(sibling)
    assert found.tensors is not None
    model = Model(mine, device="cpu")
    model.start_from(dict(found.tensors), sibling)
    known = found.tensors["backbone.leave.weight"]
    assert torch.equal(model.state_dict()["backbone.leave.weight"], known.float())
