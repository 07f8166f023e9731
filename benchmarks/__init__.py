"""Benchmarks: seconds and quality beside other projects, faults, and figures for the model cards."""
