"""`python -m benchmarks.refresh NAME`: makes all that belongs to particular weights, and that they outdate.

A stage is a module of this package with `run(name, out) -> str`, listed in `STAGES`. It measures the shipped weights
`name`, writes its section of the card (`card.write_section`, between markers) and what the package reads
(`measured.json`, `multigen.storage.measured.write_measured`) into the folder `out`, and returns one line that says what
it found, or why there is nothing to find. Run it again whenever the weights change.
"""

STAGES: tuple[str, ...] = ("samplers", "timesteps", "cache", "precision", "student", "shrink", "groups")
