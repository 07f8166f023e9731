"""The dashboard and the alerts ask for what the server really exposes, in the form that Grafana and Prometheus read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from multigen.serving.api.metrics import Metrics

HERE = Path(__file__).parents[2] / "docs" / "serving"
BOARD: dict[str, Any] = json.loads((HERE / "dashboard.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((HERE / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
FUNCTIONS = {
    "rate", "increase", "histogram_quantile", "predict_linear", "sum", "avg", "max", "min", "label_values",
}  # fmt: skip
WORDS = {"by", "on", "group_left", "and", "or", "unless", "ignoring", "without"}
OWN = {"instance", "job"}  # labels that Prometheus adds


def exposed() -> dict[str, set[str]]:
    """Names of series and their labels."""
    found: dict[str, set[str]] = {"up": set()}
    for metric in Metrics().registry._collector_to_names:
        (family,) = metric.describe() if hasattr(metric, "describe") else ()
        labels = set(metric._labelnames)  # type: ignore[attr-defined]
        if family.type == "histogram":
            found |= {f"{family.name}_bucket": {*labels, "le"}}
            found |= {f"{family.name}{end}": labels for end in ("_count", "_sum")}
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = labels
    return found


EXPOSED = exposed()


def faults(expr: str) -> list[str]:
    """What is wrong with a PromQL expression: brackets, functions, names of series, labels."""
    found: list[str] = []
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    for a, b in ("()", "[]", "{}"):
        found += [f"{a} and {b}"] * (bare.count(a) != bare.count(b))
    selectors = re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", bare)
    for name, inside in selectors:
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            if label not in EXPOSED.get(name, set()) | OWN:
                found.append(f"{name} has no label {label}")
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    names = set(re.findall(r"(?<![\w$])[a-zA-Z_]\w*", rest))
    series = {name for name in names if name in EXPOSED}
    labels: set[str] = set()
    for group in re.findall(r"\b(?:by|on|group_left|ignoring|without)\s*\(([^)]*)\)", rest):
        labels |= {label.strip() for label in group.split(",") if label.strip()}
    if not series:
        found.append("no series")
    known = set().union(*(EXPOSED[name] for name in series)) | OWN
    found += [f"no label {label}" for label in sorted(labels - known)]
    found += [f"unknown: {name}" for name in sorted(names - series - labels - FUNCTIONS - WORDS)]
    return found


def grouped(expr: str) -> set[str]:
    """Labels that the result has."""
    groups = re.findall(r"\bby\s*\(([^)]*)\)", expr)
    if not groups:
        named = [EXPOSED[name] for name in re.findall(r"\w+", expr) if name in EXPOSED]
        return set().union(*named) | OWN
    return set.intersection(*({label.strip() for label in group.split(",")} for group in groups)) - {"le"}


def targets() -> Iterator[tuple[str, str, str]]:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


@pytest.mark.parametrize(("title", "expr", "legend"), list(targets()))
def test_panels_ask_for_what_is_exposed(title: str, expr: str, legend: str) -> None:
    plain = expr.replace("[$__rate_interval]", "[5m]").replace("$model", "x")
    assert faults(plain) == []
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= grouped(plain)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_ask_for_what_is_exposed(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Multigen[A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert faults(rule["expr"]) == []
    summary = rule["annotations"]["summary"]
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= grouped(rule["expr"])
    assert re.search(r"[<>=]=? *[\w.* ]", rule["expr"])  # an alert compares


def test_the_check_sees_what_it_should() -> None:
    assert faults('sum by (model) (rate(multigen_cancelled_total{model=~"a"}[5m]))') == []
    for wrong, said in (
        ("rate(multigen_cancelled[5m])", "unknown: multigen_cancelled"),
        ('multigen_queue_media{key="a"}', "no label key"),
        ("sum by (key) (multigen_queue_media)", "no label key"),
        ("sum(multigen_queue_media", "( and )"),
        ("rates(multigen_queue_media)", "unknown: rates"),
        ("rate(multigen_request_seconds_total[5m])", "unknown"),
        ("1 + 1", "no series"),
    ):
        assert any(said in fault for fault in faults(wrong)), wrong


def test_every_metric_is_shown() -> None:
    """What the dashboard does not show, nobody sees."""
    shown = " ".join(expr for _, expr, _ in targets())
    stems = {re.sub(r"_(bucket|count|sum)$", "", name) for name in EXPOSED} - {
        "up",
        "multigen_queue_limit_media",
    }
    assert {stem for stem in stems if stem not in shown} == set()


def test_the_board_has_the_form_that_grafana_reads() -> None:
    assert BOARD["schemaVersion"] >= 36 and BOARD["title"] and re.fullmatch(r"[\w-]{1,40}", BOARD["uid"])
    assert set(BOARD["time"]) == {"from", "to"} and "id" not in BOARD and "__inputs" not in BOARD
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["model"]["type"] == "query"
    assert (
        faults(
            re.sub(r"label_values\((\w+), (\w+)\)", r"sum by (\2) (\1)", variables["model"]["query"]["query"])
        )
        == []
    )
    panels = BOARD["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("timeseries", "stat") and panel["title"] and panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["fieldConfig"]["overrides"] == []
        assert [t["refId"] for t in panel["targets"]] == list("ABCDEF")[: len(panel["targets"])]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken
        taken |= cells
        for variable in re.findall(r"\$(?!__)(\w+)", " ".join(t["expr"] for t in panel["targets"])):
            assert variable in variables


def test_the_page_lists_what_is_exposed_with_its_labels() -> None:
    """The table of docs/serving.md."""
    text = (HERE.parent / "serving.md").read_text(encoding="utf-8")
    listed: dict[str, set[str]] = {}
    for names, labels in re.findall(r"^\| ((?:`multigen_\w+`(?:, )?)+) \| ([^|]*)\|", text, re.MULTILINE):
        for name in re.findall(r"\w+", names):
            listed[name] = set(re.findall(r"\w+", labels))
    stems = {re.sub(r"_(bucket|count|sum)$", "", name): labels - {"le"} for name, labels in EXPOSED.items()}
    del stems["up"]
    assert listed == stems
