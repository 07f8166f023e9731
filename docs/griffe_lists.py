"""An extension of the API reference's reader: aligned lists in docstrings become tables."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object

from docs.generate.markdown import from_text


class AlignedLists(Extension):
    """Rewrites each docstring once it has been read."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Modules, classes, functions and attributes alike."""
        if obj.docstring is not None:
            obj.docstring.value = from_text(obj.docstring.value)
