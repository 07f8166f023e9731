"""The version of multigen."""

__version__ = "0.1.0"
