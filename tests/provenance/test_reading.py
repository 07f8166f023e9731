"""What files say may be anyone's: it is read within limits, and never believed for being there."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from multigen.errors import MediaError, MultigenError
from multigen.provenance.made import Made
from multigen.provenance.marking import mark_file
from multigen.provenance.packet import MOST, packet, parse, parse_said, read_packet
from multigen.provenance.reading import read_said, read_signed
from tests.provenance.media import MADE, TOLD, written

pytest.importorskip("c2pa")


@pytest.mark.parametrize(
    "prompt", ["", "a\0b", '"/><x:xmpmeta', "</x:xmpmeta>", "&quot;", "\ud800", "🍎" * 999, "]]>--"]
)
def test_a_packet_holds_any_text(prompt: str) -> None:
    made = Made("m", "h", embedded={"prompt": prompt, "seed": 7})
    text = packet(made)
    assert text.isascii() and text.count(b"<x:xmpmeta") == 1
    assert parse(text) == made.data()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "[" * 100_000, '{"format": 2}', '{"format": "1"}', '{"format":1' + ',"a":' * 9],
)
def test_what_is_not_ours_says_nothing(text: str) -> None:
    assert parse_said(text) is None


def test_only_flat_values_are_taken() -> None:
    assert parse_said('{"format": 1, "a": {"b": 1}, "c": [1], "d": null, "e": "x"}') == {
        "format": 1,
        "e": "x",
    }


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def test_hostile_files_are_read_without_harm(tmp_path: Path) -> None:
    path = written(tmp_path, "image", ".png")
    plain = path.read_bytes()
    noise = random.Random(0)
    huge = packet(Made("m", "h", embedded={"prompt": "x" * (MOST + 1)}))
    rows = {
        "huge metadata": plain + huge,
        "open packet": plain + b"<x:xmpmeta " * 10_000,
        "empty": b"",
        "text": b'<x:xmpmeta multigen:made="{}"</x:xmpmeta>',
        "manifest of noise": plain[:33] + chunk(b"caBX", noise.randbytes(100_000)) + plain[33:],
        "manifest that lies of its size": plain[:33]
        + chunk(b"caBX", b"\xff\xff\xff\xffjumb" + bytes(99))
        + plain[33:],
        "two manifests": plain[:33] + 2 * chunk(b"caBX", b"\0\0\0\x10jumb" + bytes(8)) + plain[33:],
    }
    for name, content in rows.items():
        path.write_bytes(content)
        assert read_said(path) is None, name
        assert read_signed(path).state in ("unsigned", "unreadable"), name
    path.write_bytes(plain + huge + packet(MADE))
    assert read_said(path) == MADE.data()


def test_a_signed_file_with_any_byte_changed_or_cut_is_never_trusted_for_another_content(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "image", ".png")
    plain = path.read_bytes()
    mark_file(path, TOLD)
    content, noise = path.read_bytes(), random.Random(1)
    start = content.index(b"caBX") - 4
    size = int.from_bytes(content[start : start + 4], "big") + 12
    for _ in range(60):
        damaged = bytearray(content)
        at = noise.randrange(len(content))
        damaged[at] ^= 1 << noise.randrange(8)
        path.write_bytes(damaged)
        found = read_signed(path)
        if (
            found.state == "trusted"
        ):  # what holds the manifest, such as its checksum in the PNG, is not signed
            assert found.said == TOLD.data() and start <= at < start + size
    for _ in range(20):
        path.write_bytes(content[: noise.randrange(len(content))])
        assert read_signed(path).state in ("altered", "unreadable", "unsigned")
    # The manifest of one file in another.
    other = bytearray(plain)
    other[-20] ^= 1
    path.write_bytes(bytes(other[:33]) + content[start : start + size] + bytes(other[33:]))
    assert read_signed(path).state == "altered"


def test_beginnings_without_an_end_are_read_once(tmp_path: Path) -> None:
    file, said = tmp_path / "a.png", packet(Made("m", "h"))
    file.write_bytes(b"<x:xmpmeta" * 400_000)
    begun = time.perf_counter()
    assert read_packet(file) is None
    file.write_bytes(b"<x:xmpmeta" * 400_000 + said)
    assert read_packet(file) == Made("m", "h").data()
    file.write_bytes(b"<x:xmpmeta></x:xmpmeta>" * 50_000 + said)
    assert read_packet(file) == Made("m", "h").data()
    assert time.perf_counter() - begun < 5  # it was minutes


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.png", "no such file"), (tmp_path, "is no file")):
        with pytest.raises(MediaError, match=why):
            read_signed(path)
        with pytest.raises(MediaError, match=why):
            read_said(path)


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "image", ".png")
    mark_file(path, MADE)
    (tmp_path / "a.pem").write_text("hello")
    (tmp_path / "b.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for name in ("a.pem", "b.pem", "none.pem"):
        with pytest.raises(MultigenError, match="certificate"):
            read_signed(path, [tmp_path / name])


def test_the_command_line_starts_without_it() -> None:
    code = (
        "import sys, json; from multigen.cli.main import main; main(['--help']); main(['info', '--help'])"
    ).replace("main(['info', '--help'])", "import multigen.cli.info")
    code += "; print(json.dumps([m for m in ('c2pa', 'cryptography', 'torch') if m in sys.modules]))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said.splitlines()[-1]) == []
