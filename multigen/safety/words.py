"""Prompt rules: lists of words by topic, in several languages."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from multigen.prompts.rules import Rules, languages, packaged, read
from multigen.safety import PROMPT, Action, Finding


class Words:
    """Words in prompts, by topic: sexual, violence, hate, self_harm, minors. See `multigen.prompts.rules`.

    languages  codes of the packaged lists, such as [en, de]; empty: all
    path       a list of the user's beside them: YAML as the packaged ones, or text with an entry a line
    own_only   without the packaged lists
    topics     those that count; empty: all
    action     what is done with a prompt that says one

    ValueError for a list that cannot be read, and an unknown language or topic.
    """

    reads = (PROMPT,)

    def __init__(
        self,
        *,
        languages: tuple[str, ...] = (),
        path: str | None = None,
        own_only: bool = False,
        topics: tuple[str, ...] = (),
        action: Literal["block", "blur", "flag"] = "block",
    ) -> None:
        if own_only and path is None:
            raise ValueError("own_only: it goes with path, the list that is left")
        lists = [] if own_only else [packaged(one) for one in languages or _all()]
        lists += [] if path is None else [read(Path(path).expanduser())]
        self.action: Action = action
        self._rules = Rules(lists, topics)

    def look(self, content: object) -> Finding | None:
        """The topic of a prompt."""
        topic = self._rules.find(str(content))
        return None if topic is None else Finding(topic)


def _all() -> list[str]:
    return languages()
