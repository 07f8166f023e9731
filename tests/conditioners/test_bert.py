"""BERT in plain torch says what transformers says, token by token and state by state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from multigen.conditioners.bert import load_bert
from multigen.conditioners.text_encoder import packaged_folder
from multigen.conditioners.text_model import TextModel
from multigen.storage.torchaudio_shim import import_torchaudio

CAPTIONS = (
    "",
    "red apple",
    "Größe naïve CAFÉ",
    "日本語 text 🍎 ok",
    "[SEP] hi [MASK]",
    " spaces\tand\nlines ",
    "a b " * 40,
)


def test_tokens_and_states_are_those_of_transformers() -> None:
    import_torchaudio()
    from transformers import AutoModelForTextEncoding, AutoTokenizer

    folder = packaged_folder()
    found = load_bert(folder)
    assert found is not None
    tokenizer, network = found
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    peer = AutoModelForTextEncoding.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    assert tokenizer.model_max_length == theirs.model_max_length
    for caption in CAPTIONS:
        assert tokenizer(caption).input_ids == theirs(caption).input_ids
        assert tokenizer.tokenize(caption) == theirs.tokenize(caption)
        ids = theirs(caption, truncation=True, max_length=20).input_ids
        assert tokenizer(caption, truncation=True, max_length=20).input_ids == ids
        assert tokenizer.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)
        tokens, mask = torch.tensor([ids, ids]), torch.ones(2, len(ids), dtype=torch.long)
        mask[1, -1] = 0
        with torch.no_grad():
            mine = network(tokens, mask).last_hidden_state
            wanted = peer(input_ids=tokens, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {"model_type": "roberta"}, {"vocab_size": 7}])
def test_other_networks_are_left_to_transformers(tmp_path: Path, change: dict[str, object]) -> None:
    for file in packaged_folder().glob("*.json"):
        shutil.copy(file, tmp_path)
    (tmp_path / "model.safetensors").symlink_to(packaged_folder() / "model.safetensors")
    assert load_bert(tmp_path) is not None
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_bert(tmp_path) is None


def test_a_text_model_takes_it() -> None:
    model = TextModel(packaged_folder(), 64)
    assert model.words("red apple")[1:3] == ["red", "apple"]
    assert type(model.loaded[1]).__name__ == "Bert"
