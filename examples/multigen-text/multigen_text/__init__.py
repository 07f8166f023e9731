"""Short texts as a modality of multigen."""
