"""The local authority and certificates of one's own."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from multigen.errors import MultigenError
from multigen.marks.keys import find_key
from multigen.provenance import authority
from multigen.provenance.authority import local_authority, local_identity
from multigen.provenance.made import Made
from multigen.provenance.marking import mark_file
from multigen.provenance.reading import read_signed
from multigen.provenance.signing import CERTIFICATE, KEY, signer_for
from multigen.storage.cache_folder import cache_folder
from multigen.storage.config_folder import config_folder
from tests.provenance.media import Key, pair, written

pytest.importorskip("c2pa")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIGEN_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config" / "provenance"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_once_and_only_its_user_reads_the_keys(config: Path) -> None:
    assert local_authority() is None
    first = local_identity()
    assert local_identity() == first and "PRIVATE" not in repr(first)
    assert mode(config) == 0o700
    assert {mode(config / f"{name}.key") for name in ("authority", "certificate")} == {0o600}
    assert sorted(p.name for p in config.parent.iterdir()) == ["provenance"]


def test_several_processes_make_one(config: Path) -> None:
    code = "from multigen.provenance.authority import local_identity; print(hash(local_identity().chain))"
    env = os.environ | {"PYTHONHASHSEED": "0"}
    runs = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) for _ in range(3)]
    said = {run.communicate(timeout=60)[0] for run in runs}
    assert len(said) == 1 and b"" not in said


def test_its_certificate_is_renewed_before_it_ends(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, root = local_identity(), local_authority()
    monkeypatch.setattr(authority, "_RENEW", timedelta(days=500))
    second = local_identity()
    assert second.chain != first.chain and local_authority() == root
    assert signer_for("on") is not None


def test_many_that_renew_at_once_leave_a_key_that_fits(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local_identity()
    with monkeypatch.context() as old, ThreadPoolExecutor(8) as threads:
        old.setattr(authority, "_RENEW", timedelta(days=500))
        assert len(list(threads.map(lambda _: local_identity(), range(24)))) == 24
    assert signer_for("on") is not None
    assert {path.name for path in config.iterdir()} == {
        "authority.pem", "authority.key", "certificate.pem", "certificate.key", ".lock"
    }  # fmt: skip


@pytest.mark.parametrize("text", [b"", b"-----BEGIN", b"\0" * 900])
def test_a_certificate_that_was_cut_is_made_anew_and_an_authority_is_not(config: Path, text: bytes) -> None:
    before = local_identity()
    for name in ("certificate.pem", "certificate.key"):
        (config / name).write_bytes(text)
        after = local_identity()
        assert after != before and signer_for("on") is not None
    (config / "certificate.pem").write_bytes(text)
    (config / "authority.key").write_bytes(text)
    with pytest.raises(MultigenError, match=r"provenance: its certificates are damaged\. Remove the folder"):
        local_identity()


def test_variables_that_are_empty_say_nothing_and_a_user_may_have_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MULTIGEN_CONFIG", "XDG_CONFIG_HOME", "MULTIGEN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    assert config_folder("a") == tmp_path / ".config" / "multigen" / "a"
    assert cache_folder("a") == tmp_path / ".cache" / "multigen" / "a"
    monkeypatch.setenv("MULTIGEN_CONFIG", "~/b")
    assert config_folder("a") == tmp_path / "b" / "a"
    monkeypatch.setenv("MULTIGEN_CONFIG", "")

    def nowhere(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert signer_for("auto") is None
    with pytest.raises(MultigenError, match=r"Could not determine home directory.*MULTIGEN_CACHE"):
        cache_folder("a")
    monkeypatch.delenv("MULTIGEN_WATERMARK_KEY", raising=False)
    with pytest.raises(MultigenError, match=r"watermarks has no folder .*MULTIGEN_CONFIG"):
        find_key()


def test_where_nothing_can_be_written_media_are_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTIGEN_CONFIG", str(tmp_path / "file" / "config"))
    with caplog.at_level(logging.WARNING):
        assert signer_for("auto") is None and signer_for("auto") is None
    assert len(caplog.records) == 1 and "media are not signed" in caplog.text
    with pytest.raises(MultigenError, match=r"provenance.sign=on: the certificate .* cannot be written"):
        signer_for("on")
    assert signer_for("off") is None


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p384", "ed25519", "rsa"],
)
def test_a_certificate_of_ones_own_signs(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, key: Key
) -> None:
    own = pair(tmp_path, key)
    monkeypatch.setenv(CERTIFICATE, str(own.certificate))
    monkeypatch.setenv(KEY, str(own.key))
    path = written(tmp_path, "image", ".png")
    mark_file(path, Made("m", "h"))
    assert not config.exists()
    found = read_signed(path)
    assert found.state == "trusted" and found.by == "Press office (A)"
    # Somebody else does not know who that is, unless told.
    monkeypatch.delenv(CERTIFICATE)
    assert read_signed(path).state == "signed"
    assert read_signed(path, [own.certificate]).state == "trusted"


FAULTS = {
    "expired": "it has expired",
    "no purpose": "certificate is invalid",
    "another key": "claim signature is not valid",
    "no certificate": "no certificate in PEM",
    "no key": "invalid signing credentials",
    "self-signed": "self-signed",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_certificate_that_cannot_sign_is_refused_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    own = pair(tmp_path, days=(-30, -1) if fault == "expired" else (-1, 30), purpose=fault != "no purpose")
    if fault == "another key":
        (tmp_path / "other").mkdir()
        own.key.write_bytes(pair(tmp_path / "other").key.read_bytes())
    if fault == "no certificate":
        own.certificate.write_text("hello")
    if fault == "no key":
        own.key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    if fault == "self-signed":
        chain = own.certificate.read_text()
        own.certificate.write_text(chain[chain.index("-----BEGIN", 10) :])
    monkeypatch.setenv(CERTIFICATE, str(own.certificate))
    monkeypatch.setenv(KEY, str(own.key))
    with pytest.raises(MultigenError, match=FAULTS[fault]) as caught:
        signer_for("auto")
    text = str(caught.value)
    assert str(own.certificate) in text and "it cannot sign media" in text and "\n" not in text
    assert "PRIVATE KEY" not in text


def test_half_a_setting_and_a_missing_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pair(tmp_path)
    monkeypatch.setenv(KEY, str(own.key))
    with pytest.raises(MultigenError, match=r"\$MULTIGEN_CERTIFICATE: it is missing"):
        signer_for("auto")
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / "none.pem"))
    with pytest.raises(MultigenError, match=r"none\.pem: cannot be read"):
        signer_for("auto")
