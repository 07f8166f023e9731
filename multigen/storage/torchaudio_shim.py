"""Import torchaudio even if its compiled extension does not fit the installed torch.

torchaudio's wheels are linked to one CUDA version. With a CPU build of torch, or one for another CUDA version, `import
torchaudio` fails although its transforms are pure PyTorch. Only then a substitute for `torchaudio._extension` reports
that there is no extension, and the rest is imported. transformers and diffusers import torchaudio if it is installed:
call `import_torchaudio` first.
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

_EXTENSION = "torchaudio._extension"


def import_torchaudio() -> ModuleType:
    """Import torchaudio, unchanged if its extension works. Calling this again changes nothing.

    Raises ImportError if torchaudio is not installed.
    """
    if "torchaudio" in sys.modules:
        return sys.modules["torchaudio"]
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise
    except (OSError, RuntimeError, ImportError):  # library not found; other CUDA; symbol not found
        for name in [n for n in sys.modules if n == "torchaudio" or n.startswith("torchaudio.")]:
            del sys.modules[name]
    sys.modules[_EXTENSION] = stand_in = _stand_in()
    try:
        torchaudio = importlib.import_module("torchaudio")
    except BaseException:
        sys.modules.pop(_EXTENSION, None)
        raise
    torchaudio.__dict__["_extension"] = stand_in  # what importing the submodule would have set
    return torchaudio


def state() -> str:
    """Describe torchaudio for `multigen doctor`: its version, and whether its extension is in use."""
    try:
        version = metadata.version("torchaudio")
    except metadata.PackageNotFoundError:
        return "not installed"
    try:
        torchaudio = import_torchaudio()
    except Exception as error:
        return f"{version}, cannot be imported ({error})"
    if isinstance(sys.modules.get(_EXTENSION), _StandIn):
        torch = metadata.version("torch")
        return f"{version}, without its compiled extension, which does not fit torch {torch}; its transforms work"
    return f"{torchaudio.__version__}, complete"


class _StandIn(ModuleType):
    """`torchaudio._extension` of a build without the extension."""


def _stand_in() -> ModuleType:
    spec = ModuleSpec(_EXTENSION, _Loader(), origin="multigen")
    return module_from_spec(spec)


class _Loader(Loader):
    """Creates the substitute, which `find_spec` and others see as an ordinary module."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Create the substitute, complete."""
        module: Any = _StandIn(spec.name)
        module._IS_TORCHAUDIO_EXT_AVAILABLE = False
        module._IS_ALIGN_AVAILABLE = False
        module._load_lib = _refuse
        module._check_cuda_version = _no_version
        module.fail_if_no_align = _needs_extension
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `create_module` has completed it."""


def _no_version() -> None:
    """Return no CUDA version."""


def _refuse(lib: str) -> bool:
    raise ImportError(f"torchaudio's {lib} cannot be loaded with this torch")


def _needs_extension(function: Any) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"{function.__name__} needs torchaudio's compiled extension, which does not fit this torch"
        )

    return fail
