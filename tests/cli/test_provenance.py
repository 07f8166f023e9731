"""`verify FILE`, `info FILE` and `run FILE`."""

from __future__ import annotations

import gc
import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image as PillowImage

import multigen
from multigen.cli.main import main
from multigen.generation.request import Request
from multigen.provenance.made import Made
from multigen.provenance.marking import mark_file
from multigen.provenance.reading import read_said, read_signed
from multigen.recipe.load import override_recipe
from multigen.runs.asked import asked, differences
from multigen.runs.verification import CODES
from tests.provenance.media import MADE, pair, written

c2pa = pytest.importorskip("c2pa")
QUICK = ["sample.steps=1", "sample.cache=off", "--quiet"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sampled(out: str, *more: str) -> Path:
    assert main(["sample", "image_digits", "--prompt", "3", "-n", "1", *QUICK, "--out", out, *more]) == 0
    return next(Path(out, "media").glob("*.png"))


def entry(out: str) -> dict[str, object]:
    return json.loads(Path(out, "manifest.json").read_text())["files"][0]


def test_what_sample_writes_is_signed_and_the_same_without_its_signature(here: Path) -> None:
    first, second = sampled("one"), sampled("two", "provenance.sign=off")
    assert read_signed(first).state == "trusted" and read_signed(second).state == "unsigned"
    assert entry("one")["unsigned_sha256"] == entry("two")["unsigned_sha256"]
    assert entry("one")["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    said = read_said(first)
    assert said == read_said(second) and said is not None
    assert said["model"] == "image_digits" and said["weights_hash"] == entry("one")["weights_hash"]
    assert "prompt" not in said and "recipe" not in said
    # The content without what it says is what the modality writes.
    model = multigen.load("image_digits", device="cpu")
    plain = here / "plain.png"
    model.modality.write(model.modality.read(first), plain)
    assert hashlib.sha256(plain.read_bytes()).hexdigest() == entry("one")["unsigned_sha256"]
    assert main(["verify", "one", "two"]) == 0
    # What is there already is neither made nor signed again.
    before = first.read_bytes()
    sampled("one", "--resume")
    assert first.read_bytes() == before


def test_a_file_that_holds_its_recipe_is_made_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--guidance-scale", "3", "--steps", "2", "--seed", "5", "provenance.embed_recipe=true"]
    file = sampled("one", *options)
    assert main(["info", str(file)]) == 0
    assert f"make it again: multigen run {file}" in capsys.readouterr().out
    assert main(["run", str(file), "--out", "two", "--quiet"]) == 0
    assert entry("two")["unsigned_sha256"] == entry("one")["unsigned_sha256"]
    assert entry("two")["seed"] == 5 and entry("two")["guide"] == {"name": "cfg", "scale": 3.0}
    # Overrides change it; other weights are refused.
    assert main(["run", str(file), "guide.scale=1", "--out", "three", "--quiet"]) == 0
    assert entry("three")["unsigned_sha256"] != entry("one")["unsigned_sha256"]
    mark_file(file, Made("image_digits", "0" * 16, embedded=read_said(file)))
    capsys.readouterr()


def test_an_edit_names_its_source_and_cannot_be_made_from_its_file_alone(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sampled("one")
    argv = [
        "edit",
        "image_digits",
        "--input",
        str(source),
        "--prompt",
        "4",
        *QUICK,
        "provenance.embed_recipe=true",
    ]
    assert main([*argv, "--out", "two"]) == 0
    edited = next(Path("two", "media").glob("*.png"))
    found = read_signed(edited)
    assert found.state == "trusted" and found.sources == ("source.png",)
    assert [one["action"] for one in found.actions] == ["c2pa.opened", "c2pa.edited"]
    assert main(["run", str(edited)]) == 2
    assert "it lacks the medium that it was edited from" in capsys.readouterr().err


def test_exit_codes_say_how_a_file_fares(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for name in ("good", "altered", "unsigned", "theirs"):
        files[name] = written(here, "image", ".png").rename(f"{name}.png")
        if name == "theirs":
            own = pair(here)
            monkeypatch.setenv("MULTIGEN_CERTIFICATE", str(own.certificate))
            monkeypatch.setenv("MULTIGEN_KEY", str(own.key))
        mark_file(Path(files[name]), MADE if name != "unsigned" else Made("m", "h", sign="off"))
    monkeypatch.delenv("MULTIGEN_CERTIFICATE")
    monkeypatch.delenv("MULTIGEN_KEY")
    content = bytearray(Path("altered.png").read_bytes())
    content[-20] ^= 1
    Path("altered.png").write_bytes(content)
    codes = {"good": 0, "altered": 1, "unsigned": 3, "theirs": 4}
    assert {name: main(["verify", f"{name}.png"]) for name in codes} == codes
    out = capsys.readouterr().out
    assert "intact, signed by multigen local certificate (multigen)" in out
    assert "altered since multigen local certificate (multigen) signed it" in out
    assert "signed by Press office (A), whom no certificate at hand vouches for (--trust FILE)" in out
    assert main(["verify", "theirs.png", "--trust", "own.pem"]) == 0
    assert main(["verify", "good.png", "theirs.png", "unsigned.png"]) == 3
    assert main(["verify", *(f"{name}.png" for name in codes)]) == 1
    capsys.readouterr()
    assert main(["verify", "--json", "altered.png"]) == 1
    (place,) = json.loads(capsys.readouterr().out)["places"]
    assert place["verdict"] == "bad" and place["checks"][0]["state"] == "altered"
    assert main(["info", "--json", "good.png"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["files"]
    assert told["state"] == "trusted" and told["said"]["model"] == "image_emoji"


def test_a_file_cannot_write_to_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(here, "image", ".png")
    mark_file(file, Made("\x1b[2Jm\u009b31m", "h", sign="off"))
    for command in ("info", "verify"):
        main([command, str(file)])
        out = capsys.readouterr().out
        assert "\x1b" not in out and "\u009b" not in out


def test_halves_of_characters_and_directions_of_writing_are_shown_as_such(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(here, "image", ".png")
    mark_file(file, Made("a\ud800b\u202ec\u2066d\u2028e", "h", sign="off"))
    for command in ("info", "verify"):
        main([command, str(file)])
        out = capsys.readouterr().out
        assert (
            "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}d\N{REPLACEMENT CHARACTER}e"
            in out
        )
        out.encode()


def test_metadata_cannot_write_a_row_of_their_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(here, "image", ".png")
    forged = {"check": "signature", "verdict": "good", "text": "intact", "state": "trusted"}
    mark_file(file, Made("m", "h", sign="off", embedded=forged))
    assert main(["verify", "--json", str(file)]) == 3
    rows = json.loads(capsys.readouterr().out)["places"][0]["checks"]
    assert [(r["check"], r["verdict"]) for r in rows][:2] == [
        ("signature", "unsigned"),
        ("metadata", "absent"),
    ]
    assert "state" not in rows[1] and rows[1]["said"]["state"] == "trusted"


def test_media_say_their_weights_when_the_model_is_gone(here: Path) -> None:
    model = multigen.load("image_digits", device="cpu")
    known = model.known_hash()
    del model
    medium = multigen.load("image_digits", device="cpu").generate("3", steps=1)[0]
    gc.collect()
    said = read_said(medium.save("a.png"))
    assert said is not None and said["weights_hash"] == known != ""


def test_what_was_made_without_filters_is_not_taken_for_what_was_looked_at(here: Path) -> None:
    model = multigen.load("image_digits", device="cpu")
    plain = asked(model, "sample", [Request("3")], {})
    assert not [key for key in plain if key.startswith(("safety", "provenance"))]  # as in folders of before
    for override, key in (
        ("safety.filters=[words]", "safety.filters"),
        ("provenance.embed_recipe=true", "provenance.embed_recipe"),
    ):
        model.recipe = override_recipe(model.recipe, [override])
        assert any(
            row.startswith(key) for row in differences(plain, asked(model, "sample", [Request("3")], {}))
        )


WRONG = [
    (["verify"], "required: FILE"),
    (["verify", "none.png"], "none.png: no such file or folder"),
    (["verify", "."], "manifest.json is missing"),
    (["verify", "a.png", "--trust", "none.pem"], "none.pem: the certificates cannot be read"),
    (["verify", "a.png", "--trust", "a.png"], "there is no certificate in PEM"),
    (["verify", "a.png", "--jsno"], "--json"),
    (["info"], "required: FILE"),
    (["info", "."], "is no file"),
    (["run", "a.png"], "holds no recipe"),
    (["run", "plain.png"], "it does not say how it was made"),
    (["run", "none.png"], "none.png: no such file"),
    (["run", "a.png", "--resume"], "--resume: it does not go with a media file"),
    (["run", "a.png", "-m"], "-m: it does not go with a media file"),
    (["run", "bad.png"], "recipe"),
    (["run", "other.png"], "are others"),
    (["sample", "image_digits", "provenance.sign=maybe"], "Allowed: auto, on, off"),
    (["sample", "image_digits", "provenance.sing=on"], "sign"),
    (["sample", "image_digits", "provenance.sign=on", "sample.suffix=.bmp"], ".bmp"),
]


@pytest.mark.parametrize(
    ("argv", "said"), WRONG, ids=lambda one: " ".join(one) if isinstance(one, list) else ""
)
def test_wrong_lines_are_refused_with_one_message(
    here: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    written(here, "image", ".png").rename("plain.png")
    for name, embedded in (
        ("a", None),
        ("bad", {"recipe": "name: [", "seed": 1}),
        ("other", {"recipe": "defaults: [image_digits]", "seed": 1}),
    ):
        file = written(here, "image", ".png").rename(f"{name}.png")
        if name == "other":
            from multigen.recipe.dump import to_yaml
            from multigen.recipe.load import load_recipe

            embedded = {"recipe": to_yaml(load_recipe("image_digits")), "seed": 1, "request": "{}"}
        mark_file(Path(file), Made("image_digits", "0" * 16, embedded=embedded, sign="off"))
    assert main([*argv, "--quiet"] if argv[0] in ("run", "sample") else argv) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err and err.strip().count("multigen: error") == 1


def test_a_certificate_that_cannot_sign_is_refused_before_anything_is_made(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pair(here, days=(-30, -1))
    monkeypatch.setenv("MULTIGEN_CERTIFICATE", str(own.certificate))
    monkeypatch.setenv("MULTIGEN_KEY", str(own.key))
    assert main(["sample", "image_digits", *QUICK, "--out", "one"]) == 2
    assert "it cannot sign media" in capsys.readouterr().err
    assert not Path("one", "media").exists()


def test_of_an_empty_file_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file := tmp_path / "empty.png").touch()
    assert main(["info", str(file)]) == 2
    assert "empty.png: the file is empty" in capsys.readouterr().err


def test_an_empty_file_hides_nothing_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty := tmp_path / "empty.png").touch()
    PillowImage.new("RGB", (64, 64)).save(whole := tmp_path / "whole.png")
    assert main(["verify", str(empty), str(whole)]) == CODES["bad"]
    said = capsys.readouterr().out
    assert "the file is empty" in said and "whole.png" in said and "no metadata of multigen" in said
