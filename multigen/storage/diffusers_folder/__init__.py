"""Folders in diffusers' format: found here or downloaded from the hub, checked before they are read, loaded as data.

Only what is safe from any source is read: JSON, the text files of a tokenizer, and safetensors. No pickles, no code.
diffusers and transformers take seconds to import, so they are imported when a network is needed, not before.
"""

from multigen.storage.diffusers_folder.files import reader
from multigen.storage.diffusers_folder.hub import located
from multigen.storage.diffusers_folder.layout import (
    AUTOENCODER,
    CONTROLNET,
    ELSEWHERE,
    MOVQ,
    OOBLECK,
    SCHEDULER,
    TEMPORAL_AUTOENCODER,
    TEMPORAL_DECODER,
    VOCODER,
    Component,
    component,
    entry,
    listed,
    pipeline_class,
    read_json,
    temporal_factors,
    vae_factor,
)
from multigen.storage.diffusers_folder.networks import Frozen, blank, imported, lone_network, network
from multigen.storage.diffusers_folder.single_file import is_single_file
from multigen.storage.diffusers_folder.turns import Turns
from multigen.storage.hub_id import is_id

__all__ = [
    "AUTOENCODER",
    "CONTROLNET",
    "ELSEWHERE",
    "MOVQ",
    "OOBLECK",
    "SCHEDULER",
    "TEMPORAL_AUTOENCODER",
    "TEMPORAL_DECODER",
    "VOCODER",
    "Component",
    "Frozen",
    "Turns",
    "blank",
    "component",
    "entry",
    "imported",
    "is_id",
    "is_single_file",
    "listed",
    "located",
    "lone_network",
    "network",
    "pipeline_class",
    "read_json",
    "reader",
    "temporal_factors",
    "vae_factor",
]
