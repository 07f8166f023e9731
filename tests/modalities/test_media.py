import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen.modalities.image import Image
from multigen.modalities.media import Media, MediaList


class Elements(HTMLParser):
    """Collects the tags and the text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def modality():
    return Image(size=8, channels=3)


@pytest.fixture
def picture(modality):
    """Red above, blue below."""
    pixels = torch.full((3, 8, 8), -1.0)
    pixels[0, :4] = 1
    pixels[2, 4:] = 1
    return Media(pixels, modality, "red & <script>alert(1)</script>", 7)


def test_saves_by_suffix_and_reads_back(picture, modality, tmp_path):
    path = picture.save(tmp_path / "a.png")
    assert path == tmp_path / "a.png"
    torch.testing.assert_close(modality.read(path), picture.tensor, atol=1e-6, rtol=0)


def test_a_missing_suffix_is_the_modalitys(picture, tmp_path):
    assert picture.save(str(tmp_path / "a")) == tmp_path / "a.png"
    assert PillowImage.open(tmp_path / "a.png").format == "PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_an_unknown_suffix_is_refused(picture, tmp_path):
    with pytest.raises(ValueError, match="xyz"):
        picture.save(tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


def test_the_home_folder_is_understood(picture, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert picture.save("~/a.png") == tmp_path / "a.png"
    assert Path(tmp_path / "a.png").is_file()


def test_notebook_picture(picture):
    shown = PillowImage.open(io.BytesIO(picture._repr_png_())).convert("RGB")
    w, h = shown.size
    assert shown.getpixel((w // 2, h // 4)) == (255, 0, 0)
    assert shown.getpixel((w // 2, 3 * h // 4)) == (0, 0, 255)


def test_notebook_html_shows_the_prompt_as_text(picture):
    page = Elements(picture._repr_html_())
    assert [tag for tag, _ in page.tags] == ["figure", "img", "figcaption"]
    assert page.tags[1][1]["src"].startswith("data:image/png;base64,")
    assert page.text.strip() == "red & <script>alert(1)</script> · seed 7"


def test_without_a_prompt_the_caption_is_the_seed(modality):
    assert Elements(Media(torch.zeros(3, 8, 8), modality, seed=3)._repr_html_()).text.strip() == "seed 3"


def test_numpy_is_a_copy(picture):
    values = picture.numpy()
    assert values.shape == (3, 8, 8)
    assert values.dtype == np.float32
    values[:] = 0
    assert picture.tensor[0, 0, 0] == 1


def test_repr_is_one_short_line(picture):
    assert repr(picture) == "Media(image [3, 8, 8], prompt='red & <script>alert(1)</script>', seed=7)"


def test_a_list_of_media_is_a_grid_in_a_notebook(modality, picture, tmp_path):
    media = MediaList(Media(picture.tensor, modality, f"<b>{k}</b>", k) for k in range(70))
    shown = Elements(media._repr_html_())
    assert [tag for tag, _ in shown.tags].count("img") == 64
    assert "6 more" in shown.text and "<b>3</b> · seed 3" in shown.text
    assert media.preview().size == modality.preview([m.tensor for m in media]).size
    paths = media.save(tmp_path / "new" / "folder")
    assert [p.name for p in paths[:2]] == ["000_seed0.png", "001_seed1.png"] and len(paths) == 70
    assert isinstance(media, list) and media[:2] == list(media)[:2]
    with pytest.raises(ValueError, match="no media"):
        MediaList().preview()
