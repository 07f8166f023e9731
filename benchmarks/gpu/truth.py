"""Truth: what a GPU makes is what the CPU makes, in every modality and by every sampler; nothing waits or leaks."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from benchmarks.gpu import resume
from benchmarks.gpu.report import Report, Row
from benchmarks.gpu.small import SHAPES, request, requests, samples, side_by_side, small
from multigen import registry
from multigen.core.drive import Driver
from multigen.storage import tensors
from multigen.training.ranks import collectives

CPU = torch.device("cpu")
# Of a sample in fp32, standard deviation about 1: what the tests on the CPU state for samples alone and in batches.
TOLERANCE = 1e-4
SEEDS = (3, 4, 5)


def measure(report: Report, device: torch.device, *, tiny: bool = False) -> None:
    """All rows of the section, the most telling first."""
    exact(True)
    kinds = ("image",) if tiny else tuple(SHAPES)
    names = ["edm", "dpmpp_2m"] if tiny else registry.names("sampler")
    checks: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        ("every sampler", lambda: every_sampler(report, device, kinds, names)),
        ("host-device synchronisation", lambda: syncs(device, names)),
        ("alone, in a batch, in a mix", lambda: company(device, kinds)),
        ("half precision", lambda: half(device, kinds)),
        ("exact resume", lambda: resume.rows(device)),
        ("load and save across devices", lambda: across(device)),
        ("one NCCL rank", lambda: one_rank(device)),
    ]
    for what, check in checks:
        with report.guarded("truth", what):
            report.extend("truth", check())
    exact(False)


def exact(on: bool) -> None:
    """No TF32, which convolutions take by default, and kernels that give the same bits twice."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = not on
    torch.backends.cudnn.deterministic = on
    torch.use_deterministic_algorithms(on, warn_only=True)


def judged(what: str, apart: float, limit: float = TOLERANCE) -> Row:
    """A row: how far apart two things are, and whether that is within the limit; NaN never is."""
    return {"what": what, "apart": apart, "limit": limit, "ok": bool(apart <= limit)}


def every_sampler(
    report: Report, device: torch.device, kinds: tuple[str, ...], names: list[str]
) -> Iterator[Row]:
    for kind in kinds:
        here, there = small(kind, CPU), small(kind, device)
        for name in names:
            what = f"{kind}, {name}: {device.type} beside the CPU"
            with report.guarded("truth", what):
                apart = samples(here, kind, name, SEEDS, CPU) - samples(there, kind, name, SEEDS, device)
                yield judged(what, apart.abs().max().item())
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = True
            loose = samples(there, kind, "heun", SEEDS, device) - samples(here, kind, "heun", SEEDS, CPU)
            torch.backends.cudnn.allow_tf32 = False
            yield {"what": f"{kind}, heun, with TF32 (torch's default)", "apart": loose.abs().max().item()}


def syncs(device: torch.device, names: list[str]) -> Iterator[Row]:
    """How often the host waits for the device in the rounds of a driver: never, but to choose adaptive steps."""
    if device.type != "cuda":
        yield {"what": "host-device synchronisation", "note": f"{device.type}: nothing to count"}
        return
    denoiser = small("image", device)
    for name in names:
        driver = Driver()
        for one in requests(denoiser, "image", name, SEEDS, device):
            driver.add(one)
        driver.round()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                while driver.samplings:
                    driver.round()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found = [str(w.message) for w in caught if "synchroniz" in str(w.message)]
        free = name != "adaptive"
        yield {"what": f"host waits, {name}", "count": len(found), "ok": not found if free else None}


def company(device: torch.device, kinds: tuple[str, ...]) -> Iterator[Row]:
    """The same sample alone, in a batch, and among requests of other samplers and lengths."""
    for kind in kinds:
        denoiser = small(kind, device)
        alone = samples(denoiser, kind, "edm", [4], device)
        batch = samples(denoiser, kind, "edm", [3, 4, 5, 6, 7], device)[1:2]
        yield judged(f"{kind}: alone and in a batch", (alone - batch).abs().max().item())
        others = [("heun", 2, 3), ("edm", 4, 4), ("dpmpp_2m", 5, 6), ("ddpm", 8, 5)]
        mix = side_by_side([request(denoiser, kind, n, [s], device, k) for n, s, k in others])
        yield judged(f"{kind}: alone and in a mix", (alone - mix[1]).abs().max().item())


def half(device: torch.device, kinds: tuple[str, ...]) -> Iterator[Row]:
    for kind in kinds:
        full = samples(small(kind, device), kind, "heun", SEEDS, device)
        for dtype in (torch.bfloat16, torch.float16):
            if device.type == "cpu" and dtype == torch.float16:
                continue
            made = samples(small(kind, device, dtype), kind, "heun", SEEDS, device)
            name = str(dtype).removeprefix("torch.")
            apart = (made - full).abs().max().item()
            yield {"what": f"{kind}: {name}", "apart": apart, "ok": bool(made.isfinite().all())}


def across(device: torch.device) -> Iterator[Row]:
    """Weights written from the device and read on the CPU, and back: the same bits."""
    there, here = small("image", device), small("image", CPU)
    with torch.no_grad():
        for p in there.parameters():
            p.mul_(1.5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w.safetensors")
        tensors.save_tensors(path, there.backbone.state_dict())
        here.backbone.load_state_dict(tensors.load_tensors(path))
        back = small("image", device)
        back.backbone.load_state_dict(tensors.load_tensors(path))
    pairs = zip(here.parameters(), there.parameters(), back.parameters(), strict=True)
    same = all(torch.equal(a, b.cpu()) and torch.equal(b, c) for a, b, c in pairs)
    yield {"what": "weights written there, read here and there", "ok": same}
    one, other = (samples(d, "image", "heun", SEEDS, p) for d, p in ((here, CPU), (back, device)))
    yield judged("their samples", (one - other).abs().max().item())


def one_rank(device: torch.device) -> Iterator[Row]:
    """The ranks' sum of gradients through NCCL (gloo on a CPU), in a group of one."""
    layer = torch.nn.Linear(300, 200).to(device)
    layer(torch.ones(4, 300, device=device)).square().sum().backward()
    before = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    backend = "nccl" if device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder, 'store')}"
        dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
        try:
            with mock.patch.object(collectives, "world", return_value=2):  # one talks to nobody
                total = collectives.summed(1.25, list(layer.parameters()))
        finally:
            dist.destroy_process_group()
    after = [p.grad for p in layer.parameters() if p.grad is not None]
    same = total == 1.25 and all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    yield {"what": f"gradients summed over one {backend} rank", "ok": same}


def compiled(device: torch.device) -> Iterator[Row]:
    """`torch.compile` of the network gives the same sample."""
    plain_one, fast = small("image", device), small("image", device)
    fast.backbone.compile(dynamic=False)
    apart = samples(plain_one, "image", "heun", SEEDS, device) - samples(fast, "image", "heun", SEEDS, device)
    yield judged("compiled and not", apart.abs().max().item())


def memory(device: torch.device, kinds: tuple[str, ...]) -> Iterator[Row]:
    """What a model took is free when it is gone, and sampling again takes no more than before."""
    if device.type != "cuda":
        yield {"what": "memory", "note": f"{device.type}: nothing to count"}
        return
    for kind in kinds:
        gc.collect()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        denoiser = small(kind, device)
        peaks = []
        for _ in range(3):
            torch.cuda.reset_peak_memory_stats(device)
            samples(denoiser, kind, "dpmpp_2m", SEEDS, device)
            peaks.append(torch.cuda.max_memory_allocated(device))
        del denoiser
        gc.collect()
        left = torch.cuda.memory_allocated(device) - before
        # cuBLAS keeps its workspace, of up to 32 MiB, from the first matrix product on.
        ok = left <= 2**20 and peaks[2] <= peaks[1]
        row = {"what": f"{kind}: left over", "bytes": left, "peak_mib": round(peaks[-1] / 2**20, 1)}
        yield {**row, "ok": ok}
