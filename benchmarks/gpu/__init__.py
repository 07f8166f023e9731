"""One command for the minutes that a GPU is at hand: it proves, measures and trains (`python -m benchmarks.gpu`)."""
