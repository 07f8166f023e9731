"""Files of tensors: what cannot be read is a mistake with a name, whenever it turns up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.errors import MultigenError
from multigen.storage import tensors


def test_a_file_that_goes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training drops old checkpoints: safetensors has the header when torch opens the file again, in vain."""
    path = tmp_path / "w.safetensors"
    tensors.save_tensors(path, {"w": torch.ones(3)})
    from_file = torch.UntypedStorage.from_file

    def gone(*args: object, **kwargs: object) -> torch.UntypedStorage:
        path.unlink()
        return from_file(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.UntypedStorage, "from_file", gone)
    with pytest.raises(MultigenError, match=r"w\.safetensors: not a readable safetensors file"):
        tensors.load_tensors(path)
    monkeypatch.undo()
    assert not path.exists()
    with pytest.raises(MultigenError, match=r"w\.safetensors: no such file"):
        tensors.load_tensors(path)
