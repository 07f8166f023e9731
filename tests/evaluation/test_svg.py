import re

import pytest

from multigen.evaluation.html_report.axes import number
from multigen.evaluation.html_report.points import finite, smooth, thin
from multigen.evaluation.html_report.svg import Series, chart


def spots(svg: str) -> list[tuple[float, float]]:
    points = re.search(r'<polyline[^>]* points="([^"]*)"', svg)
    assert points
    return [(float(x), float(y)) for x, y in (p.split(",") for p in points[1].split())]


def ticks(svg: str, css: str) -> list[str]:
    return re.findall(rf'<text class="{css}"[^>]*>([^<]*)</text>', svg)


def test_equal_factors_are_equal_heights_on_a_log_axis():
    line = Series("loss", "raw", [(0, 1.0), (1, 0.1), (2, 0.01), (3, 0.001)])
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = spots(chart([line], title="t", x_label="x", log=True))
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11)
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.11)
    assert y3 > y0  # small values below


def test_a_linear_axis_starts_at_zero():
    svg = chart([Series("speed", "raw", [(0, 17.0), (10, 17.5)])], title="t", x_label="x")
    (_, high), (_, higher) = spots(svg)
    assert ticks(svg, "tick end")[0] == "0"
    assert 0 < high - higher < 10


def test_the_grid_line_of_a_value_is_where_the_value_is_drawn():
    svg = chart([Series("loss", "raw", [(0, 2.0), (1, 0.5), (2, 0.02)])], title="t", x_label="x", log=True)
    _, (_, y), _ = spots(svg)
    labels = ticks(svg, "tick end")
    lines = re.findall(r'<line class="grid"[^>]* y1="([\d.]+)"', svg)
    assert float(lines[labels.index("0.5")]) == pytest.approx(y, abs=0.11)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.51), (0.1, 0.2), (0.01, 30.0), (1e-12, 1e6), (3.0, 3.0)])
def test_a_log_axis_always_has_a_few_different_ticks(low, high):
    svg = chart([Series("loss", "raw", [(0, low), (1, high)])], title="t", x_label="x", log=True)
    labels = ticks(svg, "tick end")
    assert 2 <= len(labels) <= 22
    assert len(set(labels)) == len(labels)


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no points to draw"):
        chart([Series("loss", "raw", [])], title="t", x_label="x")


def test_names_are_escaped():
    svg = chart([Series("<b>", "raw", [(0, 1.0)], "dots")], title="<i>", x_label="<u>")
    assert not re.search("<[biu]>", svg)


def test_smoothing_keeps_a_steady_fall_and_flattens_noise():
    fall = [(float(k), 0.9**k) for k in range(100)]
    for (_, y), (_, s) in list(zip(fall, smooth(fall, 10), strict=True))[:90]:
        assert s == pytest.approx(y)
    noisy = [(float(k), 2.0 if k % 2 else 0.5) for k in range(101)]
    assert all(0.9 < s < 1.1 for _, s in smooth(noisy, 10)[20:])


def test_thinning_loses_no_spike():
    points = [(float(k), 1.0) for k in range(10_000)]
    points[4321] = (4321.0, 50.0)
    points[777] = (777.0, 0.01)
    few = thin(points, 100)
    assert len(few) <= 200
    assert {(4321.0, 50.0), (777.0, 0.01)} <= set(few)
    assert few == sorted(few)
    assert thin(points[:50], 100) == points[:50]


def test_finite():
    nan, inf = float("nan"), float("inf")
    assert finite([(0, 1.0), (1, nan), (2, inf), (nan, 1.0), (3, -1.0)]) == [(0, 1.0), (3, -1.0)]
    assert finite([(0, 1.0), (3, 0.0)], above=0) == [(0, 1.0)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1000, "1,000"),
        (0.25, "0.25"),
        (3e-5, "3e-05"),
        (-3, "-3"),
        (0.0004, "0.0004"),
        (2e9, "2e+09"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text
