"""k-diffusion's samplers without what else it imports: it is an optional peer, and asks for torchvision."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest

_STUBS = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def k_sampling() -> ModuleType:
    """`k_diffusion.sampling`, or skip the test. The package's own `__init__`, which imports it all, is not run."""
    if "k_diffusion.sampling" in sys.modules:
        return sys.modules["k_diffusion.sampling"]
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("k-diffusion is not installed")
    stubs = {name: ModuleType(name) for name in _STUBS}
    stubs["torchvision.transforms"].__dict__["functional"] = stubs["torchvision.transforms.functional"]
    package = ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)
    before = {name: sys.modules.get(name) for name in stubs}
    sys.modules.update({**stubs, "k_diffusion": package})
    try:
        return importlib.import_module("k_diffusion.sampling")
    finally:  # whoever asks for torchvision later must not find a stub
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
