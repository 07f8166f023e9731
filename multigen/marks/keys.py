"""The secret key of marks: made once in the user's configuration folder, or given in the environment."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
from pathlib import Path

from multigen.errors import MultigenError, reason
from multigen.storage.config_folder import config_folder

log = logging.getLogger(__name__)

VARIABLE = "MULTIGEN_WATERMARK_KEY"
FILE = "watermark.key"
_KEY = re.compile(r"(?:[0-9a-fA-F]{2}){16,64}")


def find_key() -> bytes | None:
    """The key at hand; None where none was made yet. MultigenError for one that cannot be read, or is none."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return _parsed(given, f"${VARIABLE}")
    path = _place()
    try:
        text = path.read_text(encoding="utf-8")
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MultigenError(f"{path}: the key of watermarks cannot be read ({reason(error)})") from error
    if os.name == "posix" and mode & 0o077:
        raise MultigenError(
            f"{path}: others may read the key of watermarks (mode {mode:o}), and so remove marks. "
            f"Allowed: 600. Run: chmod 600 {path}"
        )
    return _parsed(text, str(path))


def own_key() -> bytes:
    """The key at hand, made where there is none. MultigenError where that fails."""
    return find_key() or _made(_place())


def _place() -> Path:
    try:
        return config_folder(FILE)
    except OSError as error:
        raise MultigenError(f"the key of watermarks has no folder ({error})") from None


def checked(key: bytes) -> bytes:
    """A key of at least 16 bytes. MultigenError for a shorter one."""
    if len(key) < 16:
        raise MultigenError(f"key: {len(key)} bytes are not allowed. Allowed: 16 bytes or more, at random.")
    return key


def _parsed(text: str, where: str) -> bytes:
    if not _KEY.fullmatch(text.strip()):
        raise MultigenError(f"{where}: no key of watermarks. Allowed: 32 to 128 hexadecimal digits.")
    return bytes.fromhex(text.strip())


def _made(path: Path) -> bytes:
    """A new key in its file; that of another process, if it was first. A key is whole before it has its name."""
    key = secrets.token_bytes(32)
    whole = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{key.hex()}\n")
        try:
            os.link(whole, path)
        except FileExistsError:
            return find_key() or _made(path)
        finally:
            whole.unlink()
    except OSError as error:
        raise MultigenError(
            f"{path}: the key of watermarks cannot be written ({reason(error)}). "
            f"Set $MULTIGEN_CONFIG to another folder, or ${VARIABLE}, or watermark=off."
        ) from error
    log.info("a new key of watermarks: %s. Keep a copy: without it no mark can be found", path)
    return key
