"""Import torchaudio even if its compiled extension does not fit the installed torch; see `torchaudio_hook`.

transformers and diffusers import torchaudio if it is installed: call `import_torchaudio` first, because Python may have
been started without the hook (`python -S`, or multigen on PYTHONPATH).
"""

from __future__ import annotations

import importlib
from importlib import metadata
from types import ModuleType

try:
    from multigen.storage import torchaudio_hook
except ImportError:  # a wheel has it beside the package alone, where Python runs it when it starts
    import _multigen_torchaudio as torchaudio_hook  # pyright: ignore[reportMissingImports]


def import_torchaudio() -> ModuleType:
    """Import torchaudio, unchanged if its extension works. Calling this again changes nothing.

    Raises ImportError if torchaudio is not installed.
    """
    torchaudio_hook.install()
    return importlib.import_module("torchaudio")


def state() -> str:
    """Describe torchaudio for `multigen doctor`: its version, and whether its extension is in use."""
    try:
        version = metadata.version("torchaudio")
    except metadata.PackageNotFoundError:
        return "not installed"
    try:
        import_torchaudio()
    except Exception as error:
        return f"{version}, cannot be imported ({error})"
    extension = importlib.import_module(torchaudio_hook.NAME)
    if extension._IS_TORCHAUDIO_EXT_AVAILABLE:
        return f"{version}, complete"
    torch = metadata.version("torch")
    return f"{version}, without its compiled extension, which does not fit torch {torch}; its transforms work"
