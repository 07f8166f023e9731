"""What stands around the package: its name on the index, extras, citation, workflow, the package of examples."""

from __future__ import annotations

import re
import tomllib

import yaml

from multigen import __version__
from tests.docs.blocks import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_distribution_has_a_name_of_its_own_and_extras_refer_to_it() -> None:
    assert PROJECT["name"] == "multigen-diffusion" and PROJECT["scripts"] == {
        "multigen": "multigen.cli.main:main"
    }
    extras = PROJECT["optional-dependencies"]
    own = re.compile(r"multigen[\w-]*\[([\w,]+)\]")
    for requirements in extras.values():
        for requirement in requirements:
            match = own.match(requirement)
            if match:
                assert requirement.startswith("multigen-diffusion[") and set(match[1].split(",")) <= set(
                    extras
                )


def test_every_extra_is_explained() -> None:
    text = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    for extra in PROJECT["optional-dependencies"]:
        assert f"`{extra}`" in text, extra


def test_no_text_names_the_distribution_of_another() -> None:
    folders = [ROOT / name for name in ("multigen", "recipes", "docs", "examples", "benchmarks")]
    texts = [p for f in folders for p in f.rglob("*") if p.suffix in (".py", ".md", ".yaml", ".toml", ".txt")]
    for path in [*texts, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "NOTICE"]:
        assert not re.search(r"\bmultigen\[[a-z]", path.read_text(encoding="utf-8")), path


def test_types_ship() -> None:
    assert (ROOT / "multigen" / "py.typed").is_file()
    series = tomllib.loads((ROOT / "examples/multigen-series/pyproject.toml").read_text(encoding="utf-8"))
    assert series["project"]["dependencies"] == [PROJECT["name"]]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__ and citation["license"] == PROJECT["license"]
    assert citation["cff-version"] == "1.2.0" and citation["authors"]


def test_the_workflow_runs_what_must_hold() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["ci"]["steps"]]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python -m docs" in script
