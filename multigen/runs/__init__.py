"""Runs: what each command does to a folder. Train, sample, edit, evaluate, sweep, pack, and report on it."""
