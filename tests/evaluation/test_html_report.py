import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import torch

from multigen.evaluation.html_report import media as report_media
from multigen.evaluation.html_report import write_report
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.media import Media

EVIL = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "img", "br", "hr", "link", "input", "source"}


class Page(HTMLParser):
    """Tags, text and the balance of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def urls(self):
        return [a[k] for _, a in self.tags for k in ("src", "href", "poster", "data", "action") if a.get(k)]


def log(steps=200):
    rows = [
        {"step": s, "loss": 2.0 / (1 + s / 20), "lr": 1e-3, "grad_norm": 1.0, "items_per_s": 12.0}
        for s in range(10, 10 * steps, 10)
    ]
    return [*rows, {"step": 500, "held_out": {"-1.0": 0.3, "1.0": 0.1, "mean": 0.2}}]


@pytest.fixture
def media(tmp_path):
    modality = Image(size=8, channels=3)
    (tmp_path / "media").mkdir()
    rows = []
    for k, prompt in enumerate(["red apple", "red apple", EVIL, ""]):
        made = Media(torch.full((3, 8, 8), k / 4), modality, prompt, k)
        path = made.save(tmp_path / "media" / f"{k:03d} #{k}%.png")
        row = {"file": f"media/{path.name}", "prompt": prompt, "seed": k, "sha256": "x"}
        rows.append({**row, "html": modality.html(made.tensor), "preview": str(path)})
    return rows


def written(folder: Path, **change) -> Page:
    given = {
        "title": "toy",
        "recipe_yaml": "name: toy\n",
        "log": log(),
        "media": [],
        "bad_media": {},
        "facts": {"device": "CPU"},
    }
    path = write_report(folder, **{**given, **change})
    assert path == folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []  # every element is closed
    return page


def local(page: Page, folder: Path) -> list[Path]:
    """Files that the page points to; anything from elsewhere fails."""
    out = []
    for url in page.urls():
        parts = urlparse(url)
        assert parts.scheme in ("", "data"), url
        assert not parts.netloc
        if not parts.scheme:
            assert not parts.query
            assert not parts.fragment
            out.append(folder / unquote(parts.path))
    return out


def test_everything_given_is_on_the_page(tmp_path, media):
    page = written(
        tmp_path,
        media=media,
        bad_media={"songs/a.mp3": "truncated"},
        held_out_by_level=[(-1.0, 0.3), (1.0, 0.1)],
        tables={"Measures": [{"measure": "KID", "value": 0.0123}, {"measure": "detune", "of": "4 clips"}]},
        pictures={"step 500": tmp_path / media[0]["file"]},
    )
    for text in (
        "toy", "CPU", "red apple", "seed 0", "seed 3", "no prompt", "name: toy", "songs/a.mp3", "truncated", "KID",
        "0.0123", "4 clips", "step 500", "multigen 0", "torch 2", "Loss by noise level",
    ):  # fmt: skip
        assert text in page.text, text
    assert len(page.all("svg")) == 6
    assert len(page.all("img")) == 4 * 2 + 1
    files = local(page, tmp_path)
    assert {f.name for f in files} == {Path(m["file"]).name for m in media}
    assert all(f.is_file() for f in files)


def test_the_source_of_an_edit_stands_once_beside_what_was_made_of_it(tmp_path, media):
    (tmp_path / "sources").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "sources" / name).write_bytes((tmp_path / media[0]["file"]).read_bytes())
    rows = [
        {**row, "prompt": "pear", "source": f"sources/{name}"}
        for row, name in zip(media, "aab", strict=False)
    ]
    rows = [{**row, "source": f"{row['source']}.png"} for row in rows]
    page = written(tmp_path, media=rows)
    assert page.text.count("source: a.png") == page.text.count("source: b.png") == 1
    assert page.text.index("source: a.png") < page.text.index("seed 0") < page.text.index("source: b.png")
    assert [a["src"] for a in page.all("img") if "sources" in a["src"]] == ["sources/a.png", "sources/b.png"]


def test_previews_play_and_what_is_measured_is_said(tmp_path, media):
    sound = Audio(rate=8000, seconds=0.5)
    path = Media(torch.zeros(1, 4000), sound).save(tmp_path / "step-00000500-0.mp3")
    rows = [{**media[0], "facts": {"loudness": "-16.0 LUFS", "peak": "-1.0 dB"}}]
    previews = [{"file": path.name, "prompt": "a tune", "seed": 5}]
    page = written(tmp_path, media=rows, previews=previews)
    assert "seed 0 · -16.0 LUFS, -1.0 dB" in page.text
    assert "Previews" in page.text and "a tune" in page.text
    assert [a["src"] for a in page.all("audio")] == [path.name]
    assert "Previews" not in written(tmp_path, media=rows).text


def test_media_trained_on_and_held_out_share_a_chart(tmp_path):
    rows = [{"step": s, "loss": 1.0, "held_out": {"mean": 0.2, "seen": 0.1, "0.0": 0.2}} for s in (100, 200)]
    page = written(tmp_path, log=rows)
    (chart,) = [a for a in page.all("svg") if "trained on and held out" in a["aria-label"]]
    assert chart
    lines = [
        a["class"] for name, a in page.tags if name in ("polyline", "path") and "line" in a.get("class", "")
    ]
    assert "line seen" in lines and "line held" in lines


def test_a_note_stands_below_its_row_and_not_in_a_column(tmp_path):
    rows = [
        {"distance": "kernel", "value": 1},
        {"distance": "frechet", "value": 2, "note": "few samples " * 9},
    ]
    page = written(tmp_path, tables={"Distances": rows})
    assert page.text.count("few samples") == 9
    assert len(page.all("th")) == 2
    assert [a["colspan"] for a in page.all("td") if "colspan" in a] == ["2"]
    assert [a["data-label"] for a in page.all("td") if "data-label" in a] == ["distance", "value"] * 2


def test_skills_are_bars_from_0_to_1(tmp_path):
    page = written(tmp_path, log=[], bars=[("worse", -0.5), ("half", 0.5), ("better", 1.25)])
    widths = [a["style"] for a in page.all("span") if "style" in a]
    assert widths == ["width: 0%", "width: 50.0%", "width: 100%"]
    assert all(text in page.text for text in ("worse", "-0.50", "0.50", "1.25"))


def test_text_is_never_markup(tmp_path, media):
    page = written(
        tmp_path,
        title=EVIL,
        recipe_yaml=EVIL,
        media=media,
        bad_media={EVIL: EVIL},
        facts={EVIL: EVIL},
        tables={EVIL: [{EVIL: EVIL}]},
        pictures={EVIL: tmp_path / media[0]["file"]},
    )
    assert not page.all("script")
    assert page.text.count(EVIL) == 12
    assert [a["alt"] for a in page.all("img")][-1] == EVIL
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_the_page_may_run_no_script_and_ask_nobody(tmp_path, media):
    page = written(tmp_path, media=media)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    assert "http" not in policy
    assert not page.all("link")
    text = (tmp_path / "report.html").read_text()
    assert "@import" not in text
    assert "url(" not in text


def test_beyond_the_limit_the_files_beside_are_shown(tmp_path, media, monkeypatch):
    size = len(media[0]["html"])
    for row in media:
        row["preview"] = None
    monkeypatch.setattr(report_media, "EMBED", 2 * size + 10)
    page = written(tmp_path, media=media)
    sources = [a["src"] for a in page.all("img")]
    assert [s.startswith("data:") for s in sources] == [True, True, False, False]
    assert all(f.is_file() for f in local(page, tmp_path))


def test_pictures_are_found_from_the_folder_and_from_where_one_works(tmp_path, media, monkeypatch):
    name = Path(media[0]["file"]).name
    monkeypatch.chdir(tmp_path.parent)
    for preview in (f"media/{name}", f"{tmp_path.name}/media/{name}", str(tmp_path / "media" / name)):
        page = written(Path(tmp_path.name), media=[{**media[0], "html": "<p>x</p>", "preview": preview}])
        assert [a["src"][:15] for a in page.all("img")] == ["data:image/png;"], preview


@pytest.mark.parametrize(
    ("suffix", "tag"), [(".wav", "audio"), (".mp4", "video"), (".png", "img"), (".xyz", "a")]
)
def test_a_player_by_suffix_where_no_element_is_given(tmp_path, suffix, tag):
    (tmp_path / f"a b{suffix}").write_bytes(b"x")
    page = written(tmp_path, media=[{"file": f"a b{suffix}", "prompt": "p", "seed": 1}])
    assert f"a%20b{suffix}" in [a.get("src") or a.get("href") for a in page.all(tag)]
    assert local(page, tmp_path)[0].is_file()


def test_a_file_that_is_gone_is_named_and_not_linked(tmp_path, media):
    gone = {"file": "media/gone.png", "prompt": "p", "seed": 9, "preview": "media/none.png"}
    page = written(tmp_path, media=[media[0], gone])
    assert "Missing files: media/gone.png" in page.text
    assert all(f.is_file() for f in local(page, tmp_path))


def test_names_that_are_no_text_do_not_cost_the_report(tmp_path):
    page = written(tmp_path, bad_media={"caf\udce9.png": "unreadable"})
    assert "unreadable" in page.text


def test_a_skipped_file_is_named_once_and_both_columns_have_room(tmp_path):
    written(tmp_path, bad_media={"/a/b.mp3": "/a/b.mp3: the file is empty"})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<tr><td class="name">/a/b.mp3</td><td class="text">the file is empty</td></tr>' in text
    for column in ("name", "text"):  # a column of a single letter's width is what a long path shrank to
        assert f"td.{column} {{ min-width:" in text


def test_many_skipped_files_are_counted(tmp_path):
    page = written(tmp_path, bad_media={f"{k}.png": "bad" for k in range(250)})
    assert "250 files" in page.text
    assert "And 50 more" in page.text
    assert "199.png" in page.text
    assert "200.png" not in page.text


def test_a_run_without_anything_is_still_a_page(tmp_path):
    page = written(tmp_path, log=[], facts={})
    assert "Recipe" in page.text
    assert not page.all("svg")
    assert "tiles" not in [a.get("class") for a in page.all("dl")]  # no "0 media"
    assert not [h for h in ("Media", "Training", "Skipped media") if re.search(rf">{h}\s*<", page.text)]


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 1, "loss": 0.5}],
        [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}],
        [{"step": 0, "loss": 0.0}, {"step": 1, "loss": None}, {"step": 2}],
        [{"step": 5, "held_out": 0.25}],
        [{"step": s, "loss": 10.0**-s, "lr": 0.0} for s in range(1, 30)],
    ],
)
def test_odd_logs(tmp_path, rows):
    page = written(tmp_path, log=rows)
    numbers = re.findall(r"[-\d.]+", " ".join(a["points"] for a in page.all("polyline")))
    assert "nan" not in (tmp_path / "report.html").read_text().lower().split("</style>")[1]
    assert all(-1 < float(n) < 1000 for n in numbers)


def test_losses_that_are_not_finite_are_counted_not_drawn(tmp_path):
    rows = [*log(), {"step": 3000, "loss": float("nan")}, {"step": 3010, "loss": float("inf")}]
    page = written(tmp_path, log=rows)
    assert "2 logged losses are not finite" in page.text
    for attributes in page.all("polyline"):
        assert not re.search("nan|inf", attributes["points"])


def test_the_numbers_at_the_top(tmp_path, media):
    page = written(tmp_path, media=media, log=log())
    tiles = re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", (tmp_path / "report.html").read_text())
    assert dict(tiles) == {
        "device": "CPU", "media": "4", "steps": "1,990", "loss": "0.0203", "held-out loss": "0.2", "items/s": "12",
    }  # fmt: skip
    assert page.text.count("held-out loss: 0.2 at 500") == 1


def test_a_long_log_stays_small(tmp_path):
    rows = [{"step": s, "loss": 1 + (s % 7) / 10, "lr": 1e-3, "grad_norm": 1.0} for s in range(50_000)]
    written(tmp_path, log=rows)
    assert (tmp_path / "report.html").stat().st_size < 100_000
