"""Files: atomic writes, locks, caches, tensors, LoRAs, folders in diffusers' format."""
