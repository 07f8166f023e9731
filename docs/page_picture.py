"""The picture of the page in docs/serving.md: `python docs/page_picture.py docs/page.webp`.

It serves three shipped models, makes media with fixed seeds by filling in the form, and takes a picture of it.
It needs Chromium and the package playwright.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

MODELS = ("image_emoji", "audio_music", "video_moving_emoji")
# The model, the prompt, the seed and how many; the last is made first in the gallery.
MADE = (
    ("image_emoji", "slice of pizza", 4, 2),
    ("image_emoji", "strawberry", 11, 1),
    ("image_emoji", "doughnut", 5, 2),
    ("image_emoji", "hamburger", 3, 2),
    ("image_emoji", "red apple", 1, 2),
    ("video_moving_emoji", "blue fish moving right", 2, 1),
    ("audio_music", "church organ, G major, 92 bpm", 1, 1),
)
WIDTH, HEIGHT, SCALE, QUALITY = 1200, 780, 1.5, 88


@contextmanager
def served() -> Iterator[str]:
    """A server of the models; its address."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "multigen", "serve", *MODELS, "--port", "0", "--store", store]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("multigen: ").strip() + "/"
        finally:
            process.terminate()
            process.wait(60)


def make(page: Any, model: str, prompt: str, seed: int, count: int) -> None:
    """Fill in the form and press the button."""
    page.get_by_label("Model", exact=True).select_option(model)
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.get_by_label("How many").fill(str(count))
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector(".waiting", state="detached", timeout=300_000)


def main(out: Path) -> None:
    """Make the media and take the picture."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with served() as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, reduced_motion="reduce"
        )
        page.goto(address)
        page.wait_for_selector("form.panel", timeout=120_000)
        for row in MADE:
            make(page, *row)
        page.get_by_label("Model", exact=True).select_option("image_emoji")
        page.get_by_label("Prompt", exact=True).fill("red apple")
        page.evaluate("document.activeElement.blur()")
        page.locator(".fields").first.evaluate("(e) => e.scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.wait_for_timeout(7000)  # the line about what is done goes
        picture = page.screenshot()
        browser.close()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").save(out, quality=QUALITY, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
