"""Let `import torchaudio` work where its compiled extension does not fit the installed torch.

torchaudio's wheels are linked to one CUDA build of torch. Beside a CPU build, `import torchaudio` fails although most
of it is pure PyTorch, and so does whatever imports it when it finds it: transformers, diffusers, peft. This module
watches for the import of `torchaudio._extension` alone. Only where that fails does it answer, as a build without
the extension would, that there is none.

The wheel carries it beside the package, as `_multigen_torchaudio`, and `torchaudio_hook.pth`, with which Python
runs it when it starts. So it imports nothing that Python has not loaded by then, least of all multigen.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

NAME = "torchaudio._extension"


class Finder:
    """Finds `torchaudio._extension` where everybody does, and lets `Loader` run it."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the extension's spec; None for any other module."""
        if name != NAME:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)  # pyright: ignore[reportAttributeAccessIssue]
        return spec


class Loader:
    """Runs the module as its own loader does; where that fails, it is a module without the extension."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make what the loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run it. What cannot be a missing library comes through."""
        try:
            self._loader.exec_module(module)
        except ModuleNotFoundError:
            raise
        except (
            OSError,
            RuntimeError,
            ImportError,
        ) as error:  # library not found; other CUDA; symbol not found
            module.unusable = str(error)
            module._IS_TORCHAUDIO_EXT_AVAILABLE = module._IS_ALIGN_AVAILABLE = False
            module._load_lib = _refuse
            module._check_cuda_version = _no_version
            module.fail_if_no_align = _needs_extension


def install() -> None:
    """Watch for the import from now on. Calling this again changes nothing."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


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


install()
