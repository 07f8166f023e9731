"""torchaudio imports whatever its extension does; a healthy one is left alone. Each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multigen.storage import torchaudio_hook

SHIM = "from multigen.storage.torchaudio_shim import import_torchaudio, state\n"
HEALTHY = """
import os
if "broken" in os.environ["FAKE"]:
    raise OSError("libc10_cuda.so: cannot open shared object file")
_IS_TORCHAUDIO_EXT_AVAILABLE = True
"""


def python(code: str, fake: Path | None = None, mode: str = "") -> str:
    """Output of `code` in a fresh interpreter, with a made-up torchaudio in front of the real one if asked for."""
    setup = f"import sys; sys.path.insert(0, {str(fake)!r})\n" if fake else ""
    setup += f"import os; os.environ['FAKE'] = {mode!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", setup + SHIM + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_fake(folder: Path) -> Path:
    (folder / "torchaudio" / "_extension").mkdir(parents=True)
    (folder / "torchaudio" / "_extension" / "__init__.py").write_text(HEALTHY)
    lines = (
        "from . import _extension\nfrom torchaudio._extension import _IS_TORCHAUDIO_EXT_AVAILABLE as HAS\n"
    )
    (folder / "torchaudio" / "__init__.py").write_text(lines + "__version__ = 'fake'\n")
    return folder


def test_transforms_work_and_transformers_can_import_it() -> None:
    code = """
import importlib.util
torchaudio = import_torchaudio()
assert import_torchaudio() is torchaudio
import torch, torchaudio.functional, torchaudio.transforms
from transformers.utils import is_torchaudio_available
assert importlib.util.find_spec("torchaudio._extension") is not None
x = torch.sin(torch.arange(8000) * 0.1)
assert torchaudio.transforms.MelSpectrogram(8000, n_fft=256)(x).shape == (128, 63)
assert torchaudio.functional.resample(x, 8000, 4000).shape == (4000,)
print(is_torchaudio_available(), state())
"""
    available, _, text = python(code).partition(" ")
    assert available == "True"
    assert "complete" in text or "transforms work" in text


def test_a_healthy_torchaudio_is_left_alone(tmp_path: Path) -> None:
    code = "m = import_torchaudio(); print(m.HAS, hasattr(m._extension, 'unusable'), state().split(', ')[-1])"
    assert python(code, make_fake(tmp_path)) == "True False complete"


def test_a_broken_extension_is_stood_in_for(tmp_path: Path) -> None:
    code = """
m = import_torchaudio()
again = import_torchaudio()
print(m.HAS, m is again, "without its compiled extension" in state())
try:
    m._extension._load_lib("libtorchaudio")
except ImportError as error:
    print("libtorchaudio" in str(error))
"""
    assert python(code, make_fake(tmp_path), "broken").split() == ["False", "True", "True", "True"]


def test_any_other_fault_comes_through(tmp_path: Path) -> None:
    make_fake(tmp_path)
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise RuntimeError('something else')\n")
    code = """
import sys
try:
    import_torchaudio()
except RuntimeError as error:
    print(error, "torchaudio._extension" in sys.modules)
"""
    assert python(code, tmp_path) == "something else False"


LIBRARIES = """
import transformers, peft
from diffusers import UNet2DModel
from transformers import BertModel
import sys
print("multigen" in sys.modules)
"""


@pytest.mark.slow
def test_diffusers_transformers_and_peft_import_by_themselves(tmp_path: Path) -> None:
    """The environment that README's first command makes, without a word of multigen in the user's code."""
    outside = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", LIBRARIES],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=outside,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "False"


def test_the_hook_costs_no_import_and_watches_one_module() -> None:
    code = f"""
import sys
before = set(sys.modules)
sys.path.insert(0, {str(Path(torchaudio_hook.__file__).parent)!r})
import torchaudio_hook
print(sorted(set(sys.modules) - before), torchaudio_hook.Finder.find_spec("torchaudio"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['torchaudio_hook'] None"
