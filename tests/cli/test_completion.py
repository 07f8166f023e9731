"""Completion: nothing that a parser, a recipe or a part takes is missing, and bash offers it at the right place."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest

from multigen import registry
from multigen.cli.completion import choices, override_keys, script, words
from multigen.cli.main import COMMANDS, main
from multigen.recipe.places import LISTS, PLACES
from multigen.recipe.schema import Launch, Recipe, Sample, Train
from multigen.recipe.source import shipped


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    return {shell: script(shell, COMMANDS) for shell in ("bash", "zsh", "fish")}


def blocks(text: str, name: str) -> str:
    """The lines of a script that are of one command."""
    return "\n".join(
        line
        for line in text.splitlines()
        if f'"{name} ' in line or f" {name}) " in line or f"from {name}'" in line
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_parser_is_there(scripts: dict[str, str], name: str) -> None:
    actions = COMMANDS[name].parser().actions
    flags = [flag for action in actions for flag in action.option_strings]
    assert {"--help", "--debug"} <= set(flags)
    for shell in ("bash", "zsh"):
        listed = re.split(r"[\s';]+", blocks(scripts[shell], name))
        assert set(flags) <= set(listed), (shell, set(flags) - set(listed))
    of_fish = blocks(scripts["fish"], name)
    for flag in flags:
        assert f"-l {flag[2:]} " in of_fish if flag.startswith("--") else f"-s {flag[1:]} " in of_fish
    for action in actions:
        for choice in action.choices or ():
            for text in scripts.values():
                assert choice in blocks(text, name), (name, action.dest, choice)


def test_help_agrees_with_usage() -> None:
    """What `multigen COMMAND --help` lists is what completes."""
    for name, command in COMMANDS.items():
        text = command.parser().format_help()
        for flag in words(command.parser()).names:
            assert flag in text, (name, flag)


def test_every_key_and_part_is_there(scripts: dict[str, str]) -> None:
    keys = override_keys()
    assert len(keys) == len(set(keys))
    sections = {"": Recipe, "train.": Train, "sample.": Sample, "launch.": Launch}
    for prefix, section in sections.items():
        for field in dataclasses.fields(section):
            key = f"{prefix}{field.name}"
            assert any(k.startswith((f"{key}=", f"{key}.")) for k in keys), key
    for place, kind in PLACES.items():
        for name in registry.names(kind):
            assert f"{place}.name={name}" in keys
            for argument in registry.arguments(kind, name):
                assert f"{place}.{argument.name}=" in keys
    for place, kind in LISTS.items():
        assert {f"{place}=[{name}]" for name in registry.names(kind)} <= set(keys)
    assert {
        "train.precision=bf16",
        "train.compile=true",
        "launch.name=torchrun",
        "sample.polish.passes=",
    } <= set(keys)
    for text in scripts.values():
        listed = set(text.replace("'", " ").replace("(", " ").replace(")", " ").split())
        assert set(keys) <= listed
        assert set(shipped()) <= listed
        assert set(COMMANDS) <= listed


def test_choices_of_types() -> None:
    assert choices(bool) == ["true", "false"]
    assert choices(bool | None) == ["true", "false"]
    assert choices(int | None) == []


def test_the_command_prints_the_script(scripts: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 0
    assert capsys.readouterr().out == scripts["fish"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("multigen sam", {"sample"}),
        ("multigen run image_dig", {"image_digits"}),
        ("multigen run tin", {"tiny.yaml"}),
        ("multigen run x train.check", {"train.checkpoint_every="}),
        ("multigen run x sampler.name=he", {"heun"}),  # readline has cut the word at '='
        ("multigen run x train.precision=b", {"bf16"}),
        ("multigen parts sam", {"sampler"}),
        ("multigen completion f", {"fish"}),
        ("multigen run x --dev", {"--device"}),
        ("multigen run x --device c", {"cpu", "cuda"}),
        ("multigen run x --cfg ", {"job"}),
        ("multigen pack x --modality v", {"video"}),
        ("multigen pack x --out tin", {"tiny.yaml"}),
        ("multigen export x tin", {"tiny.yaml"}),
        ("multigen run x --seed t", set()),  # no word that it could be
        ("multigen edit x --restore downs", {"downsample"}),
        ("multigen recipes --q", set()),
    ],
)
def test_bash_completes(scripts: dict[str, str], line: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").touch()
    (tmp_path / "multigen.bash").write_text(scripts["bash"])
    command = f"source ./multigen.bash; COMP_LINE={json.dumps(line)}; COMP_POINT={len(line)}; _multigen; "
    command += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=30)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == expected
