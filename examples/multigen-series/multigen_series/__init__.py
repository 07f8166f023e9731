"""Time series as a modality of multigen."""
