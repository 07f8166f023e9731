"""The package of time series: files and units, forecasts, and scores against what is known in closed form."""

from __future__ import annotations

import csv
import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from multigen import registry
from multigen.errors import MediaError
from tests.docs.test_examples import command
from tests.docs.test_examples import installed as installed

CHANNELS = ("speed [m/s]", "steering [deg]")


@pytest.fixture
def series(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package as it is installed, with its entry points."""
    looked_up = (registry._entry_points, registry._all_entry_points)
    monkeypatch.syspath_prepend(str(installed))
    for one in looked_up:
        one.cache_clear()
    names = ("modality", "process", "forecast", "bands")
    yield SimpleNamespace(**{name: importlib.import_module(f"multigen_series.{name}") for name in names})
    monkeypatch.undo()
    for one in looked_up:
        one.cache_clear()


def drive(series: Any, **more: Any) -> Any:
    settings = {"length": 8, "channels": CHANNELS, "low": (0.0, -30.0), "high": (30.0, 30.0), "step": 0.1}
    return series.modality.Series(**{**settings, **more})


def test_a_file_keeps_its_values_units_and_times(series: Any, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "time [s],note,steering [deg],speed [m/s]\n12.3,1,-1.25,14.1234567\n12.4,2,45.5,-3\n12.5,3,0,1e-7\n"
    )
    modality = drive(series)
    own = modality.native(path)
    media = own.read(path)
    assert media.dtype == torch.float64 and media.shape == (2, 3)
    torch.testing.assert_close(media[0, 0].item(), 14.1234567 / 15 - 1, rtol=1e-12, atol=0)
    own.write(media, tmp_path / "same.csv")
    rows = list(csv.reader((tmp_path / "same.csv").open()))
    assert rows[0] == ["time [s]", *CHANNELS]
    assert rows[1:] == [["12.3", "14.1234567", "-1.25"], ["12.4", "-3", "45.5"], ["12.5", "1e-07", "0"]]
    # What a model sees is within its range.
    seen = modality.read(path)
    assert seen.dtype == torch.float32 and seen.abs().max() == 1
    assert torch.equal(own.convert(media, modality), media.clamp(-1, 1))
    assert modality.info(path).duration == pytest.approx(0.3)
    assert modality.read(path, start=0.1, duration=0.1).shape == (2, 1)


def test_times_are_those_of_the_file_and_go_on_from_its_last(series: Any, tmp_path: Path) -> None:
    """Seconds since 1970, and steps that are not quite the model's."""
    path = tmp_path / "log.csv"
    given = ["1732795023.3", "1732795023.4005", "1732795023.501"]
    path.write_text("time [s],steering [deg],speed [m/s]\n" + "".join(f"{t},0,1\n" for t in given))
    own = drive(series).native(path)
    own.write(torch.zeros(2, 5, dtype=torch.float64), tmp_path / "longer.csv")
    times = [row[0] for row in csv.reader((tmp_path / "longer.csv").open())][1:]
    assert times == [*given, "1732795023.601", "1732795023.701"]
    assert own.read(tmp_path / "longer.csv").shape == (2, 5)
    made = drive(series)
    made.write(torch.zeros(2, 4), tmp_path / "made.csv")
    assert [row[0] for row in csv.reader((tmp_path / "made.csv").open())][1:] == ["0", "0.1", "0.2", "0.3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time [s],speed [km/h],steering [deg]\n0,1,2\n", "lack.*speed.*m/s"),
        ("time [s],speed [m/s],steering [deg]\n0,1,2\n0.2,1,2\n", "row 3.*goes on by 0.2.*0.1"),
        ("speed [m/s],steering [deg]\n1,2\n1,\n", "row 3, column 2: '' is no number"),
        ("speed [m/s],steering [deg]\n1,2\nnan,2\n", "row 3, column 1: 'nan'"),
        ("speed [m/s],steering [deg]\n1,2\n1\n", "row 3, column 2: 'nothing'"),
        ("speed [m/s],steering [deg]\n", "no row"),
        ("", "lack"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(series: Any, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(MediaError, match=said):
        drive(series).read(tmp_path / "log.csv")


def test_wrong_settings_are_refused(series: Any) -> None:
    for more in (
        {"low": (0.0,) * 3},
        {"high": (-1.0, 3.0)},
        {"step": 0.0},
        {"channels": ("a", "a")},
        {"length": 0},
    ):
        with pytest.raises(ValueError, match="Allowed"):
            drive(series, **more)


def test_the_score_is_that_of_a_normal_forecast_and_of_its_definition(series: Any) -> None:
    """Closed form: Gneiting & Raftery 2007, eq. 5; definition: the integral of (F(x) - 1{x >= y})^2."""
    x = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)[:, None]
    for y in (-1.5, 0.0, 0.7):
        cdf, pdf = 0.5 * (1 + math.erf(y / 2**0.5)), math.exp(-y * y / 2) / (2 * math.pi) ** 0.5
        wanted = y * (2 * cdf - 1) + 2 * pdf - 1 / math.pi**0.5
        assert series.forecast.crps(x, torch.tensor([y])).item() == pytest.approx(wanted, abs=1e-3)
    members, y = torch.tensor([0.2, 0.5, 1.1, 3.0], dtype=torch.float64), 0.9
    grid = torch.linspace(-1, 5, 600_001, dtype=torch.float64)
    steps = (members[:, None] <= grid).double().mean(0) - (grid >= y).double()
    biased = torch.trapezoid(steps.square(), grid).item()
    pairs = (members[:, None] - members).abs().sum().item()
    fair = biased + pairs / 2 / 16 - pairs / 2 / 12
    assert series.forecast.crps(members, torch.tensor(y)).item() == pytest.approx(fair, abs=1e-4)
    assert series.forecast.crps(torch.tensor([[2.0]]), torch.tensor([0.5])).item() == 1.5


def test_intervals_of_a_right_ensemble_hold_what_they_should(series: Any) -> None:
    rng = torch.Generator().manual_seed(1)
    members, truth = torch.randn(19, 40_000, generator=rng), torch.randn(40_000, generator=rng)
    for share in (0.5, 0.9):
        inside = series.forecast.within(members, truth, share).float().mean().item()
        assert inside == pytest.approx(share, abs=0.01)
        narrow = series.forecast.within(0.5 * members, truth, share).float().mean().item()
        assert narrow < share - 0.1
    with pytest.raises(ValueError, match="19, 39"):
        series.forecast.within(members[:18], truth, 0.9)


def test_a_forecast_that_is_exactly_right_is_within_its_interval(series: Any) -> None:
    """As of a channel that stands still, such as a brake that nobody touches."""
    for share in (0.5, 0.9):
        assert series.forecast.within(torch.zeros(19, 4), torch.zeros(4), share).all()
        assert not series.forecast.within(torch.zeros(19, 4), torch.ones(4), share).any()


def test_bands_hold_what_their_names_say(series: Any, tmp_path: Path) -> None:
    """19 forecasts and a truth out of one distribution, at 4,000 times."""
    values = np.random.default_rng(0).normal(size=(20, 4000))
    for number, line in enumerate(values[:19]):
        rows = "".join(f"{k},{v:.9g}\n" for k, v in enumerate(line))
        (tmp_path / f"{number:02d}.csv").write_text("time [s],value\n" + rows)
    out = series.bands.bands(tmp_path, tmp_path.parent / "bands.csv")
    bands = np.loadtxt(out, delimiter=",", skiprows=1)[:, 1:]
    for low, high, share in ((0, 4, 0.9), (1, 3, 0.5)):
        inside = ((values[19] > bands[:, low]) & (values[19] < bands[:, high])).mean()
        assert inside == pytest.approx(share, abs=0.025)
    (tmp_path / "00.csv").unlink()
    with pytest.raises(ValueError, match="18 forecasts.*-n 19"):
        series.bands.bands(tmp_path, tmp_path / "few.csv")


@pytest.mark.parametrize("channels", [2, 12])
def test_the_future_of_the_process_is_what_it_says(series: Any, channels: int) -> None:
    """Stationary, and what is left of the truth after the known mean has the known deviation, at every horizon."""
    modality = series.modality.Series(length=12, channels=tuple(f"c{k}" for k in range(channels)))
    process = series.process.Process(modality=modality, count=3000, held_out=10)
    items = torch.stack([process[k]["media"] for k in range(2500)]).double()
    assert items.std((0, 2)).sub(0.3).abs().max() < 0.02
    left = []
    mean, deviation = process.future(items[0, :, :4], 8)
    for item in items:
        mean, deviation = process.future(item[:, :4], 8)
        left.append((item[:, 4:] - mean) / deviation)
    z = torch.stack(left)
    assert z.mean((0, 1)).abs().max() < 0.06 and (z.std((0, 1)) - 1).abs().max() < 0.06
    # A perfect forecaster's score is its deviation over the square root of pi.
    rng = torch.Generator().manual_seed(3)
    members = mean + deviation * torch.randn(19, 400, *mean.shape, generator=rng, dtype=torch.float64)
    truth = mean + deviation * torch.randn(400, *mean.shape, generator=rng, dtype=torch.float64)
    score = series.forecast.crps(members, truth).mean((0, 1))
    assert torch.allclose(score, deviation[0] / math.pi**0.5, rtol=0.12)


SMALL = [
    "backbone={name: unet, widths: [8, 8], blocks: 1, attention: [false, true]}",
    "train.batch=4",
    "train.steps=2",
    "train.warmup=0",
    "sample.steps=2",
    "sample.n=1",
    "train.tensorboard=false",
]


@pytest.mark.slow
def test_a_forecast_begins_with_the_file_as_it_is_and_becomes_bands(
    series: Any, installed: Path, tmp_path: Path
) -> None:
    """Of your own logs in a folder, with five channels, through the commands."""
    names = [f"joint {k} [rad]" for k in range(5)]
    (tmp_path / "logs").mkdir()
    for number in range(4):
        rows = [[0.1 * k, *(math.sin(k / 5 + c + number) for c in range(5))] for k in range(40)]
        lines = [",".join(["time [s]", *names]), *(",".join(f"{v:.6f}" for v in row) for row in rows)]
        (tmp_path / "logs" / f"{number}.csv").write_text("\n".join(lines) + "\n")
    recipe = str(installed / "multigen_series" / "driving.yaml")
    own = [f"modality.channels={names}", "modality.low=[-2]", "modality.high=[2]", "modality.length=16"]
    own += ["data={name: folder, path: logs, captions: none, held_out: 0}", "train.workers=0"]
    command(installed, tmp_path, "train", recipe, *SMALL, *own, "--quiet", "--out", "run")
    past = tmp_path / "past.csv"
    past.write_text((tmp_path / "logs" / "0.csv").read_text())
    extend = ["--input", "past.csv", "--extend", "1.2s", "-n", "19", "--quiet", "--out", "made"]
    command(installed, tmp_path, "edit", "run", *extend)
    made = sorted((tmp_path / "made" / "media").glob("*.csv"))
    given = list(csv.reader(past.open()))
    for path in made:
        rows = list(csv.reader(path.open()))
        assert rows[0] == given[0] and len(rows) == 1 + 40 + 12
        assert [[float(v) for v in row] for row in rows[1:41]] == [
            [float(v) for v in row] for row in given[1:]
        ]
        assert float(rows[-1][0]) == pytest.approx(5.1) and abs(float(rows[-1][1])) <= 2
    out = series.bands.bands(tmp_path / "made" / "media", tmp_path / "bands.csv")
    header, *rows = csv.reader(out.open())
    assert header[:3] == ["time [s]", "joint 0 5% [rad]", "joint 0 25% [rad]"] and len(header) == 26
    last = [float(v) for v in rows[-1][1:6]]
    assert last == sorted(last)


@pytest.mark.slow
def test_a_trained_forecast_lies_between_the_perfect_one_and_climatology(
    series: Any, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multigen.model.load import load

    recipe = str(installed / "multigen_series" / "driving.yaml")
    few = [
        "train.steps=250",
        "train.minutes=null",
        "train.batch=32",
        "sample.steps=8",
        "train.tensorboard=false",
    ]
    small = ["modality.length=16", "backbone.widths=[24,32]", "train.preview_every=0", "sample.n=1"]
    command(installed, tmp_path, "train", recipe, *few, *small, "--quiet", "--out", "run")
    model = load(str(tmp_path / "run"), device="cpu")
    rows = series.forecast.measure(model, horizon=6, members=19, n=16)
    score = {
        name: sum(r["crps"] for r in rows if r["forecast"] == name)
        for name in ("model", "perfect", "climatology")
    }
    assert score["perfect"] < score["model"] < 0.8 * score["climatology"]
