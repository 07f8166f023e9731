from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.marks.keys import FILE, VARIABLE, find_key, own_key
from multigen.marks.media import key_for


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("MULTIGEN_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def test_a_key_is_made_once_for_its_user_alone(config: Path) -> None:
    assert find_key() is None
    assert not config.exists()
    key = own_key()
    assert len(key) == 32
    assert own_key() == key == find_key()
    assert stat.S_IMODE((config / FILE).stat().st_mode) == 0o600
    assert [path.name for path in config.iterdir()] == [FILE]


def test_two_that_make_a_key_at_once_have_the_same(config: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(own_key())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_key_of_the_environment_comes_first(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ab" * 16)
    assert own_key() == b"\xab" * 16
    assert not config.exists()
    for bad in ("", "ab" * 15, "xy" * 16):
        monkeypatch.setenv(VARIABLE, bad)
        with pytest.raises(MultigenError, match=r"\$MULTIGEN_WATERMARK_KEY: no key .* 32 to 128 hexadecimal"):
            own_key()


def test_bad_files_are_refused(config: Path) -> None:
    own_key()
    path = config / FILE
    path.write_text("no key")
    with pytest.raises(MultigenError, match=r"watermark\.key: no key of watermarks"):
        own_key()
    path.write_text("ab" * 32)
    path.chmod(0o644)
    with pytest.raises(MultigenError, match=r"mode 644.*chmod 600"):
        find_key()
    path.unlink()
    path.mkdir()
    with pytest.raises(MultigenError, match="cannot be read"):
        find_key()


def test_a_folder_that_cannot_be_made_is_said(config: Path) -> None:
    config.write_text("a file")
    with pytest.raises(MultigenError, match=r"watermark\.key: .*cannot be"):
        own_key()


def test_which_settings_ask_for_a_key() -> None:
    assert key_for("off", public=True) is None
    assert key_for("auto") is None
    assert key_for("auto", public=True) == key_for("on") == own_key()
