import copy
import io
import json
import pickle
import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from multigen.conditioners import text_encoder
from multigen.conditioners.text import Text
from multigen.conditioners.text_encoder import TextEncoder
from multigen.core.conditioning import CondSpec
from multigen.errors import MultigenError, RecipeError
from multigen.registry import Part, build

CAPTIONS = [
    "red apple moving left",
    "dog",
    "organ, C minor, slow, 66 bpm, four voices over a walking bass",
    "red apple moving right",
    "flag: Japan",
]


@pytest.fixture(scope="module")
def text():
    """The packaged encoder, loaded once."""
    return Text()


def fresh(text: Text, **sizes: int) -> Text:
    """A conditioner with an empty cache that shares the loaded weights."""
    other = Text()
    other.encoder = TextEncoder(text.encoder.model.folder, text.encoder.model.max_tokens, **sizes)
    other.encoder.model = text.encoder.model
    return other


def test_building_neither_loads_nor_imports_the_encoder():
    code = (
        "import sys, time; from multigen.conditioners.text import Text; t = time.perf_counter(); Text();"
        "names = ('transformers', 'sentence_transformers');"
        "print(time.perf_counter() - t, *(n in sys.modules for n in names))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(out[0]) < 1.0
    assert out[1:] == ["False", "False"]


def test_shapes_mask_and_unit_variance(text):
    assert text.spec == CondSpec(vector=384, tokens=384)
    cond = text({"text": CAPTIONS})
    lengths = cond.mask.sum(1)
    assert cond.vector.shape == (5, 384)
    assert cond.tokens.shape == (5, int(lengths.max()), 384)
    assert lengths.tolist()[:2] == [6, 3]  # [CLS] red apple moving left [SEP]; [CLS] dog [SEP]
    valid = cond.tokens[cond.mask]
    assert (valid.mean(1).abs() < 1e-5).all()
    torch.testing.assert_close(valid.var(1, unbiased=False), torch.ones(len(valid)), atol=1e-3, rtol=0)
    torch.testing.assert_close(cond.vector.var(1, unbiased=False), torch.ones(5), atol=1e-3, rtol=0)
    assert not cond.tokens[~cond.mask].any()


def test_states_are_those_of_the_packaged_network(text):
    """Against the network called plainly: states up to their normalisation, and the mean's direction."""
    tokenizer, model = text.encoder.model.loaded
    cond = text({"text": CAPTIONS})
    for i, caption in enumerate(CAPTIONS):
        with torch.no_grad():
            ids = torch.tensor([tokenizer(caption).input_ids])
            raw = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        torch.testing.assert_close(
            cond.tokens[i][cond.mask[i]], F.layer_norm(raw, (384,)), atol=1e-5, rtol=1e-5
        )
        assert F.cosine_similarity(cond.vector[i], raw.mean(0), dim=0) > 0.97


def test_meaning_survives_pooling(text):
    a, b, c = text({"text": ["a small dog", "a little puppy", "a church organ in C minor"]}).vector
    assert F.cosine_similarity(a, b, dim=0) > F.cosine_similarity(a, c, dim=0) + 0.3


def test_a_caption_does_not_depend_on_its_company(text):
    together = fresh(text)({"text": CAPTIONS * 3})
    for i, caption in enumerate(CAPTIONS):
        alone = fresh(text)({"text": [caption]})
        length = alone.tokens.shape[1]
        torch.testing.assert_close(together.tokens[i, :length], alone.tokens[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.vector[i], alone.vector[0], atol=1e-5, rtol=0)


def test_an_epoch_encodes_each_caption_once(text):
    mine = fresh(text)
    first = mine({"text": CAPTIONS + CAPTIONS})
    assert mine.encoder.encoded == len(CAPTIONS)
    mine({"text": CAPTIONS[::-1]})
    again = mine({"text": ["red  apple moving\tleft ", *CAPTIONS[1:], *CAPTIONS]})
    assert mine.encoder.encoded == len(CAPTIONS)
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.vector, again.vector)


def test_the_cache_keeps_the_latest_within_its_bytes(text):
    room = 2 * 3 * 384 * 4  # two captions of [CLS] word [SEP] in fp32
    mine = fresh(text, cache_bytes=room)
    for word in ("dog", "cat", "dog", "cow"):
        mine({"text": [word]})
    assert mine.encoder.encoded == 3
    assert list(mine.encoder.cache) == ["dog", "cow"]  # cat was used longest ago
    assert mine.encoder.cached_bytes == room
    big = mine({"text": CAPTIONS})  # more than fits is still answered
    assert big.tokens.shape[0] == 5
    assert mine.encoder.cached_bytes == sum(s.nbytes for s in mine.encoder.cache.values()) <= room


def test_what_sampling_cached_can_be_trained_on(text):
    """Inference-mode tensors refuse autograd: a preview between training steps must leave none behind."""
    mine = fresh(text)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        mine({"text": CAPTIONS})
    layer = torch.nn.Linear(384, 4)
    cond = mine({"text": CAPTIONS})
    assert mine.encoder.encoded == len(CAPTIONS)
    assert cond.tokens.dtype == torch.float32
    layer(cond.tokens).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_null_is_the_empty_prompt(text):
    null = text.null(3)
    empty = text({"text": ["", "  ", ""]})
    assert torch.equal(null.tokens, empty.tokens)
    assert torch.equal(null.vector, empty.vector)
    assert null.mask.sum(1).tolist() == [2, 2, 2]
    assert null.mask.shape == null.tokens.shape[:2]


def test_dropout_puts_null_in_rows(text):
    cond = text({"text": CAPTIONS[:2]}).where(torch.tensor([True, False]), text.null(2))
    assert cond.mask.sum(1).tolist() == [6, 2]
    assert torch.equal(cond.vector[1], text.null(1).vector[0])


@pytest.mark.parametrize(("tokens", "pooled"), [(True, False), (False, True)])
def test_either_part_alone(text, tokens, pooled):
    one = Text(tokens=tokens, pooled=pooled)
    one.encoder = text.encoder
    assert one.spec == CondSpec(vector=384 * pooled, tokens=384 * tokens)
    both, cond = text({"text": CAPTIONS}), one({"text": CAPTIONS})
    assert cond.structure == (384 if pooled else None, 384 if tokens else None, None)
    assert torch.equal(cond.vector if pooled else cond.tokens, both.vector if pooled else both.tokens)


def test_nothing_is_saved_trained_or_copied(text):
    assert text.state_dict() == {}
    assert list(text.parameters()) == []
    averaged = copy.deepcopy(text)
    assert averaged.encoder is text.encoder
    buffer = io.BytesIO()
    torch.save(text.state_dict(), buffer)
    assert buffer.tell() < 2000
    Text().load_state_dict(text.state_dict())
    assert len(pickle.dumps(text)) < 10_000
    there = pickle.loads(pickle.dumps(text))
    torch.testing.assert_close(
        there({"text": CAPTIONS}).tokens, text({"text": CAPTIONS}).tokens, atol=1e-5, rtol=0
    )


def test_it_follows_the_module(text):
    mine = fresh(text).to(torch.float64)
    cond = mine({"text": ["dog"]})
    assert cond.vector.dtype == cond.tokens.dtype == torch.float64
    assert cond.mask.dtype == torch.bool
    assert all(s.device.type == "cpu" and s.dtype == torch.float32 for s in mine.encoder.cache.values())


def test_long_text_is_cut_and_said_so(text):
    long = "apple " * 100
    with pytest.warns(UserWarning, match="has over 48 tokens"):
        batch = text.from_prompts([long])
    assert text(batch).tokens.shape[1] == 48
    assert text.from_prompts(["apple"]) == {"text": ["apple"]}
    with pytest.warns(UserWarning, match=f"'{'あ' * 60} ...'"):  # words without spaces
        text.from_prompts(["あ" * 90])


def test_odd_prompts(text):
    with pytest.raises(MultigenError, match="not valid Unicode"):
        text.from_prompts(["\ud800"])
    with pytest.raises(MultigenError, match=r"7 is not allowed\. Allowed: text"):
        text.from_prompts([7])  # pyright: ignore[reportArgumentType]
    cond = text(text.from_prompts(["🍎", "Äpfel", "<script>", "\x00"]))
    assert torch.isfinite(cond.tokens).all()
    assert (cond.mask.sum(1) >= 1).all()


def test_items_without_text_are_named(text):
    with pytest.raises(ValueError, match=r"text: the data's items have no 'text' \(they have label\)"):
        text({"label": [1]})


def test_the_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(text_encoder, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(RecipeError, match=r'conditioner \(text\).*pip install -e ".*\[demo\]"'):
        build("conditioner", Part("text"))


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"tokens": False, "pooled": False}, "both false"),
        ({"max_tokens": 0}, "Allowed: 4 to 512"),
        ({"path": "no/such/folder"}, "no config.json there"),
    ],
)
def test_bad_arguments_end_before_any_work(args, fault):
    with pytest.raises(RecipeError, match=fault):
        build("conditioner", Part("text", args))


def small_folder(folder, kind):
    """A random encoder of `kind` in the on-disk format of transformers, with a word tokenizer."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(
        models.WordLevel({"<pad>": 0, "<unk>": 1, "</s>": 2, "dog": 3, "cat": 4}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind != "bare":
        words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=8, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
        )
        transformers.T5EncoderModel(config).save_pretrained(folder)
    else:
        config = transformers.BertConfig(
            vocab_size=8, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
        transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "width", "blank"), [("bert", 24, 1), ("t5", 16, 1), ("bare", 24, 1)])
def test_a_folder_of_ones_own(tmp_path, kind, width, blank):
    mine = Text(path=str(small_folder(tmp_path / kind, kind)))
    assert mine.spec == CondSpec(vector=width, tokens=width)
    cond = mine({"text": ["dog cat", "dog"]})
    assert cond.tokens.shape == (2, 2 if kind == "bare" else 3, width)
    assert not torch.equal(cond.vector[0], cond.vector[1])
    assert mine.null(1).mask.sum() == blank  # a valid token even where the tokenizer gives none
    assert torch.isfinite(mine.null(1).tokens).all()


def test_pickled_weights_and_broken_folders_are_refused(tmp_path):
    folder = small_folder(tmp_path / "x", "bert")
    weights = folder / "model.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(MultigenError, match=r"no \.safetensors weights"):
        Text(path=str(folder))
    weights.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(MultigenError, match="cannot be loaded as a text encoder"):
        Text(path=str(folder))({"text": ["dog"]})
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(MultigenError, match="describes no text encoder"):
        Text(path=str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(MultigenError, match="not readable as JSON"):
        Text(path=str(folder))


def test_weights_of_another_network_are_refused(tmp_path):
    folder = small_folder(tmp_path / "x", "bert")
    save_file({"something.weight": torch.zeros(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MultigenError, match="cannot be loaded as a text encoder"):
        Text(path=str(folder))({"text": ["dog"]})


def test_cached_captions_are_fast(text):
    mine = fresh(text)
    batch = {"text": [f"dog {i}" for i in range(64)]}
    start = time.perf_counter()
    mine(batch)
    once = time.perf_counter()
    mine(batch)
    assert time.perf_counter() - once < (once - start) / 3
    assert mine.encoder.encoded == 64
