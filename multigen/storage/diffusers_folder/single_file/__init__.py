"""Single files as the community publishes them: all parts of a model in one safetensors file, by the authors' names."""

from multigen.storage.diffusers_folder.single_file.convert import tensors
from multigen.storage.diffusers_folder.single_file.folder import folder_of, is_single_file

__all__ = ["folder_of", "is_single_file", "tensors"]
