"""Prompts as text: what is written in them, whatever characters say it."""
