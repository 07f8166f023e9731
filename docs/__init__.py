"""The documentation: its pages, and what builds them into a site. See `python -m docs --help`."""
