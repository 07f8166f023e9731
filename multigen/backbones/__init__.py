"""Backbones: the networks F(x, c_noise, cond). They know nothing of schedules, samplers or prompts."""
