"""Ids of pipelines on the Hugging Face hub: hf:owner/name. Without the prefix nothing goes to the network.

hf:owner/name/prior is a network of a pipeline that is a stage of its own.
"""

from __future__ import annotations

import re

PREFIX = "hf:"
_ID = re.compile(r"hf:[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(/(prior|decoder))?")
_BARE = re.compile(_ID.pattern.removeprefix(PREFIX))


def is_id(source: str) -> bool:
    """Return whether a source is an id on the hub."""
    return _ID.fullmatch(source) is not None


def looks_like_id(source: str) -> bool:
    """Return whether a source would be an id on the hub with the prefix in front, for messages."""
    return _BARE.fullmatch(source) is not None
