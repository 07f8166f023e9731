"""`python -m benchmarks.gpu [--truth] [--speed] [--train PACK --minutes M] [--pack RECIPE] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu import report as reports
from multigen.device import choose_device

MINUTES = 4.0  # for truth and speed together


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    found.add_argument("--truth", action="store_true", help="a GPU's results beside the CPU's")
    found.add_argument(
        "--speed", action="store_true", help="beside diffusers, and our driver beside a bare loop"
    )
    found.add_argument("--train", type=Path, metavar="PACK", help="train from a pack")
    found.add_argument("--minutes", type=float, default=1.0, help="of the training, all told (default 1)")
    found.add_argument("--pack", metavar="RECIPE", help="make a pack of a recipe in --out")
    found.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override of the recipe"
    )
    found.add_argument("--recipe", default="image_emoji", help="whose training steps are timed")
    found.add_argument("--only", action="append", default=[], help="jobs of --speed")
    found.add_argument("--budget", type=float, default=MINUTES, help="minutes of truth and speed together")
    found.add_argument("--cache", type=Path, help="compiled.bin of an earlier training")
    found.add_argument("--tiny", action="store_true", help="each part small, for a CPU")
    found.add_argument("--device", help="cuda, cpu ...; the best that is here")
    found.add_argument("--out", type=Path, help="a folder (default benchmarks/results)")
    return found


def main(argv: list[str] | None = None) -> int:
    start = time.monotonic()
    given = parser().parse_args(argv)
    if given.pack:
        return _pack(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    device = choose_device(given.device)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
        device = torch.device("cuda", device.index or 0)
    out = given.out or Path(__file__).parents[1] / "results"
    out.mkdir(parents=True, exist_ok=True)
    name = reports.slug(reports.card(device))
    both = given.truth or given.speed
    report = reports.Report(out / f"gpu-{name}{'-training' if given.train and not both else ''}", device)
    report.write()
    if both:
        _measure(report, given, device, start + 60 * given.budget)
    if given.train:
        from benchmarks.gpu.train import train

        begin = time.monotonic() if both else start
        with report.guarded("training", "training"):
            train(
                report, given.train, out, device, given.minutes,
                overrides=given.set, cache=given.cache, start=begin,
            )  # fmt: skip
    print(report.markdown())
    print(f"{len(report.failures)} rows miss their bar or could not be made", file=sys.stderr)
    return 0


def _measure(
    report: reports.Report, given: argparse.Namespace, device: torch.device, deadline: float
) -> None:
    """Truth while the jobs of speed get ready."""
    from benchmarks.gpu import speed, truth

    if not given.speed:
        truth.measure(report, device, tiny=given.tiny)
        return
    with speed.Pool(given.recipe, device, tiny=given.tiny, only=given.only) as pool:
        if given.truth:
            truth.measure(report, device, tiny=given.tiny)
        with report.guarded("speed", "speed"):
            speed.measure(report, pool, deadline)


def _pack(given: argparse.Namespace) -> int:
    from benchmarks.gpu.pack import pack

    if given.out is None:
        parser().error("--pack needs --out FOLDER")
    sizes = pack(given.pack, given.out, overrides=given.set)
    for name, size in sizes.items():
        print(f"{size:>12,} {name}")
    print(f"{sum(sizes.values()):>12,} in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
