"""The reader of the pages: what is marked, what is replaced, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, read

PAGE = """\
<!-- run: steps=20 => steps=2 | + sample.n=1 seed=3 -->
```sh
multigen sample image_digits sample.steps=20  # a comment
multigen sample image_digits \\
  --prompt "a b"
```

```text
nothing
```

<!-- not run: needs a GPU -->
```python
x = 1
```

<!-- run: list.txt -->
```json
{}
```
"""


def test_blocks_with_their_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    shell, text, python, file = read(page)
    assert (shell.how, shell.added, shell.line) == ("run", ("sample.n=1", "seed=3"), 2)
    assert "sample.steps=2 " in shell.runs
    assert shell.commands()[1] == ["sample", "image_digits", "--prompt", "a b"]
    assert (text.how, python.how, python.reason, file.file) == ("", "not run", "needs a GPU", "list.txt")


def test_a_replacement_must_find_its_text(tmp_path: Path) -> None:
    page = ROOT / "docs" / "missing.md"
    page = tmp_path / "page.md"
    page.write_text("<!-- run: steps=30 => steps=2 -->\n```sh\nmultigen recipes\n```\n")
    (block,) = read(page)
    object.__setattr__(block, "page", ROOT / "page.md")
    with pytest.raises(AssertionError, match="steps=30"):
        _ = block.runs
