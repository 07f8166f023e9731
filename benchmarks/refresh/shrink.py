"""Stage `shrink`: smaller copies of the weights, and the network as ONNX, in fp32 and in int8, beside them.

A table of size, peak memory, seconds, kernel distance and metrics, on equal prompts and seeds. Pruned copies recover
for `MULTIGEN_RECOVER` minutes (default: 0, none).
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import multigen
from benchmarks.refresh.card import rows_of, write_section
from multigen.model.export import export
from multigen.recipe.paths import shipped_weights
from multigen.runs.shrink import Shrinking, Smaller, shrink
from multigen.storage.measured import write_measured

MEDIA = 96
_PEAK = """
import resource, sys, multigen
model = multigen.load(sys.argv[1], device="cpu")
list(model.generate(model.recipe.sample.prompts[0], n=4))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def run(name: str, out: Path) -> str:
    """Measure smaller copies of the shipped weights `name`; what it found, in a line."""
    recover = float(os.environ.get("MULTIGEN_RECOVER", "0"))
    ways = {
        "int8": Shrinking(int8=True),
        "pruned 0.3": Shrinking(prune=0.3, recover=recover),
        "pruned 0.3, int8": Shrinking(prune=0.3, recover=recover, int8=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        made = {title: shrink(name, Path(folder, f"{k}.safetensors"), how, n=MEDIA, force=True, quiet=True)
                for k, (title, how) in enumerate(ways.items())}  # fmt: skip
        peaks = {title: _peak(str(one.path)) for title, one in made.items()}
        graphs = _graphs(name, Path(folder))
    first = next(iter(made.values()))
    rows = [
        (
            "as shipped",
            f"{first.size[0] / 1e6:.1f}",
            f"{_peak(name):.0f}",
            "1",
            "0",
            _skills(first, before=True),
        )
    ]
    rows += [_row(title, one, peaks[title]) for title, one in made.items()]
    header = ("weights", "MB", "peak memory, MB", "seconds, of the shipped", "rise of the excess", "skills")
    text = f"## Smaller copies\n\n{MEDIA} media each, equal seeds (`multigen shrink`).\n\n{rows_of(header, rows)}"
    text += f"\n\nThe network alone, a call of 4 samples:\n\n{rows_of(('as', 'MB', 'ms', 'relative error'), graphs)}"
    write_section(out, "shrink", text)
    measured = {title: dataclasses.asdict(one.cost) for title, one in made.items() if one.cost is not None}
    write_measured(out, shipped_weights()[name], "shrink", measured)
    cost = first.cost
    assert cost is not None
    share = first.size[1] / first.size[0]
    return f"int8: {share:.2f} of the file, excess {cost.excess_rise:+.3f} ± {cost.rise_error:.3f}"


def _row(title: str, one: Smaller, peak: float) -> tuple[str, ...]:
    cost = one.cost
    assert cost is not None
    share = f"{cost.seconds_after / cost.seconds_before:.2f}"
    rise = f"{cost.excess_rise:+.3f} ± {cost.rise_error:.3f}"
    return title, f"{one.size[1] / 1e6:.1f}", f"{peak:.0f}", share, rise, _skills(one, before=False)


def _skills(one: Smaller, *, before: bool) -> str:
    skills = () if one.cost is None else one.cost.skills
    return ", ".join(f"{s.metric} {s.before if before else s.after:.3f}" for s in skills)


def _peak(source: str) -> float:
    """Most MB that a process holds which loads a model and makes four media."""
    done = subprocess.run([sys.executable, "-c", _PEAK, source], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


# --- ONNX --------------------------------------------------------------------------------------------------------


def _graphs(name: str, folder: Path) -> list[tuple[str, ...]]:
    """The network in torch, as ONNX, and as ONNX with dynamic int8: size, ms a call, error."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = multigen.load(name, device="cpu")
    plain = export(name, folder / "plain.onnx", to="onnx")
    small = folder / "int8.onnx"
    # Convolutions alone: of the products of matrices the quantised graph keeps no equal.
    quantize_dynamic(
        plain, small, weight_type=QuantType.QUInt8, op_types_to_quantize=["Conv", "MatMul", "Gemm"]
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    rows: list[tuple[str, ...]] = []
    wanted: Any = None
    for title, path in (("ONNX, fp32", plain), ("ONNX, dynamic int8", small)):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        given = _inputs(session, model.codec.shape(model.modality.shape()))
        found = session.run(None, given)[0]
        wanted = found if wanted is None else wanted
        error = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
        ms = _fastest(lambda s=session, g=given: s.run(None, g))
        rows.append((title, f"{path.stat().st_size / 1e6:.1f}", f"{ms:.1f}", f"{error:.4f}"))
    return rows


def _inputs(session: Any, shape: tuple[int, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """Four samples in the middle of their way from noise, with random conditions."""
    rng = np.random.default_rng(0)
    found = {}
    for one in session.get_inputs():
        if one.name == "x":
            found[one.name] = rng.normal(size=(4, *shape)).astype(np.float32)
        elif one.name in ("alpha", "sigma"):
            found[one.name] = np.full(4, 0.5**0.5, np.float32)
        elif one.name == "c_noise":
            found[one.name] = np.zeros(4, np.float32)
        elif one.name == "mask":
            found[one.name] = np.ones((4, 6), dtype=bool)
        else:
            sizes = [n if isinstance(n, int) else (4 if k == 0 else 6) for k, n in enumerate(one.shape)]
            found[one.name] = rng.normal(size=sizes).astype(np.float32)
    return found


def _fastest(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Milliseconds of the fastest call."""
    call()
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)
