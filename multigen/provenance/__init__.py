"""Provenance: what a media file says of how it was made, signed (C2PA) or as plain metadata, and reading it back."""
