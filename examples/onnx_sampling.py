"""Sample from an exported denoiser with numpy and onnxruntime alone, without multigen and torch.

multigen export image_digits --to onnx
python examples/onnx_sampling.py image_digits.onnx 7
"""

from __future__ import annotations

import base64
import json
import sys
from itertools import pairwise

import numpy as np
import onnxruntime


def main(path: str, prompt: str, n: int = 1, seed: int = 0, scale: float = 2.0) -> np.ndarray:
    """`n` samples [n, C, *D]: DDIM with classifier-free guidance (arXiv:2010.02502, arXiv:2207.12598)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    kinds = {i.name: np.bool_ if "bool" in i.type else np.float32 for i in session.get_inputs()}

    def denoised(prompt: str, x: np.ndarray, levels: np.ndarray) -> np.ndarray:
        inputs = {name: np.full(n, v) for name, v in zip(("alpha", "sigma", "c_noise"), levels, strict=True)}
        for name, one in json.loads(facts["conditions"])[prompt].items():
            row = np.frombuffer(base64.b64decode(one["data"]), kinds[name]).reshape(one["shape"])
            inputs[name] = row.repeat(n, axis=0)
        return np.asarray(session.run(["x0"], {"x": x, **inputs})[0])

    grid = np.array(json.loads(facts["grid"]), np.float32)
    x = np.random.default_rng(seed).standard_normal((n, *json.loads(facts["shape"])), np.float32) * grid[0, 1]
    for now, then in pairwise(grid):
        without = denoised("", x, now)
        x0 = without + scale * (denoised(prompt, x, now) - without)
        x = then[1] / now[1] * x + (then[0] - now[0] * then[1] / now[1]) * x0
    return x


if __name__ == "__main__":
    made = main(sys.argv[1], sys.argv[2])[0]
    print("\n".join("".join(" .:*#"[int(4.99 * (v.clip(-1, 1) + 1) / 2)] for v in row) for row in made[0]))
