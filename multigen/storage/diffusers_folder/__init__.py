"""Folders in diffusers' format: found here or downloaded from the hub, checked before they are read, loaded as data.

Only what is safe from any source is read: JSON, the text files of a tokenizer, and safetensors. No pickles, no code.
diffusers and transformers take seconds to import, so they are imported when a network is needed, not before.
"""

from multigen.storage.diffusers_folder.hub import located
from multigen.storage.diffusers_folder.layout import (
    COMPONENTS,
    INDEX,
    SCHEDULER,
    check_pipeline,
    component,
    entry,
    is_pipeline,
    read_json,
    vae_factor,
)
from multigen.storage.diffusers_folder.networks import Frozen, imported, network
from multigen.storage.hub_id import is_id

__all__ = [
    "COMPONENTS",
    "INDEX",
    "SCHEDULER",
    "Frozen",
    "check_pipeline",
    "component",
    "entry",
    "imported",
    "is_id",
    "is_pipeline",
    "located",
    "network",
    "read_json",
    "vae_factor",
]
