"""Files of keys."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.serving.guard import keys as module
from multigen.serving.guard.keys import Keys, add_key, bearer, read_keys, revoke_key


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock by which a running server looks at its file again; it goes on by 2 s each time it is read."""
    now = [0.0]

    def clock() -> float:
        now[0] += 2
        return now[0]

    monkeypatch.setattr(module.time, "monotonic", clock)
    return now


def test_the_file_holds_no_key_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = add_key(path, "ana", requests_per_minute=60)
    assert secret.startswith("mg_") and len(secret) >= 43
    assert secret not in path.read_text() and secret[3:] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (key,) = read_keys(path)
    assert (key.name, key.scopes, key.requests_per_minute) == ("ana", ("generate", "read"), 60)
    assert add_key(path, "ben") != secret


def test_only_the_very_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = add_key(path, "ana")
    add_key(path, "ben")
    keys = Keys(path)
    found = keys.find(secret)
    assert found is not None and found[0].name == "ana"
    for wrong in (
        "",
        secret[:-1],
        f"{secret} ",
        secret.upper(),
        read_keys(path)[0].hash,
        "\udcff",
        "x" * 10**6,
    ):
        assert keys.find(wrong) is None


@pytest.mark.usefixtures("at_once")
def test_a_running_server_sees_what_is_added_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ana = add_key(path, "ana")
    keys = Keys(path)
    ben = add_key(path, "ben")
    assert keys.find(ben) is not None
    revoke_key(path, "ana")
    assert keys.find(ana) is None and keys.find(ben) is not None
    path.write_text("not JSON")
    assert keys.find(ben) is None
    path.unlink()
    assert keys.find(ben) is None


@pytest.mark.usefixtures("at_once")
def test_what_a_key_has_used_stays_used_when_another_one_is_added(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ana = add_key(path, "ana", requests_per_minute=1)
    keys = Keys(path)
    first = keys.find(ana)
    add_key(path, "ben")
    second = keys.find(ana)
    assert first is not None and second is not None and first[1] is second[1]
    revoke_key(path, "ana")
    add_key(path, "ana", requests_per_minute=5)
    assert keys.find(ana) is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "a" * 65, "é", "a\n"])
def test_names_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(MultigenError, match="NAME"):
        add_key(tmp_path / "keys.json", name)
    assert not (tmp_path / "keys.json").exists()


def test_faults_are_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(MultigenError, match="serve keys add"):
        read_keys(path)
    add_key(path, "ana")
    with pytest.raises(MultigenError, match="already"):
        add_key(path, "ana")
    with pytest.raises(MultigenError, match="Did you mean 'ana'"):
        revoke_key(path, "anna")
    with pytest.raises(MultigenError, match="'generate'"):
        add_key(path, "ben", ["generat"])
    for text in (
        "",
        "[]",
        '{"keys": [{"name": "x"}]}',
        json.dumps({"keys": [{"name": "x", "scopes": [], "y": 1}]}),
    ):
        path.write_text(text)
        with pytest.raises(MultigenError, match="not a file of keys"):
            read_keys(path)


def test_keys_come_as_bearers() -> None:
    assert bearer({"authorization": "Bearer abc"}) == "abc"
    assert bearer({"authorization": "bearer  abc "}) == "abc"
    for text in ("", "abc", "Basic abc", "Bearer ", "Bearer"):
        assert bearer({"authorization": text}) is None
