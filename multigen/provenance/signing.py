"""Signed manifests (C2PA) in files: who signs, what a manifest says, and the signature itself."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import logging
import os
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from multigen.errors import MultigenError, reason
from multigen.provenance.authority import Identity, local_identity
from multigen.provenance.known import READ, TYPES
from multigen.provenance.made import AGENT, Made, Sign, SourceFile
from multigen.storage.files import atomic
from multigen.storage.packages import install
from multigen.storage.png import png_file
from multigen.version import __version__

if TYPE_CHECKING:
    import c2pa
    from cryptography.x509 import Certificate

log = logging.getLogger(__name__)

CERTIFICATE, KEY = "MULTIGEN_CERTIFICATE", "MULTIGEN_KEY"  # files of a certificate of one's own, PEM
SAID = "org.multigen.made"  # label of the assertion that holds `Made.data`
SOURCE = "source"  # of the ingredient
# Nothing is asked of another host. Thumbnails would turn 3 kB into 1.4 MB.
SETTINGS: Mapping[str, Any] = {
    "version": 1,
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "ocsp_fetch": False, "remote_manifest_fetch": False},
}


@dataclass(frozen=True, eq=False)
class Signing:
    """What signs: both may be used from several threads at once."""

    context: c2pa.Context
    signer: c2pa.Signer


def installed() -> bool:
    """Whether the extra `provenance` is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("c2pa", "cryptography"))


def signer_for(sign: Sign) -> Signing | None:
    """What signs; None where nothing does.

    MultigenError for `on` without the extra, and for a certificate of the user's own that cannot sign.
    """
    if sign == "off":
        return None
    if not installed():
        if sign == "on":
            raise MultigenError(f"provenance.sign=on needs the package c2pa-python: {install('provenance')}")
        return None
    try:
        identity = _own() or local_identity()
        if _certificate(identity).not_valid_after_utc < datetime.now(UTC):  # a server outlives it
            raise MultigenError(_refused(identity, "it has expired"))
        return _signing(identity)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        text = f"the certificate that signs media cannot be written or read ({where}{reason(error)})"
        if sign == "on":
            raise MultigenError(f"provenance.sign=on: {text}") from error
        _warn(text)
        return None


@functools.lru_cache(maxsize=8)
def _warn(text: str) -> None:
    log.warning("media are not signed: %s", text)


def check_format(sign: Sign, suffix: str) -> None:
    """MultigenError where files of a format have to be signed and cannot be."""
    if sign == "on" and suffix.lower() not in TYPES:
        raise MultigenError(
            f"provenance.sign=on: {suffix} files cannot be signed. Allowed: {', '.join(TYPES)}; or sign=auto"
        )


def _own() -> Identity | None:
    """The user's own certificate; None where none is set."""
    paths = {name: os.environ.get(name, "") for name in (CERTIFICATE, KEY)}
    if not any(paths.values()):
        return None
    for name, path in paths.items():
        if not path:
            other = CERTIFICATE if name == KEY else KEY
            raise MultigenError(f"${name}: it is missing; {other} is set, and both go together")
    found = {name: _file(name, Path(path).expanduser()) for name, path in paths.items()}
    return Identity(found[CERTIFICATE], found[KEY], f"${CERTIFICATE}={paths[CERTIFICATE]}")


def _file(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MultigenError(f"${name}={path}: cannot be read ({reason(error)})") from error


@functools.lru_cache(maxsize=4)
def _signing(identity: Identity) -> Signing:
    """What signs as an identity. MultigenError where a trial shows that it cannot: expired, or of another key."""
    import c2pa

    kind = _algorithm(_certificate(identity))
    try:
        info = c2pa.C2paSignerInfo(kind, identity.chain, identity.key, None)
        found = Signing(c2pa.Context.from_dict(dict(SETTINGS)), c2pa.Signer.from_info(info))
        content = io.BytesIO()
        _signed(io.BytesIO(_dot()), content, ".png", Made("trial", ""), found)
        content.seek(0)
        with c2pa.Reader("image/png", content, None, found.context) as reader:
            results = reader.get_validation_results() or {}
    except c2pa.C2paError as error:
        raise MultigenError(_refused(identity, str(error))) from None
    faults = results.get("activeManifest", {}).get("failure", [])
    if fault := next((one for one in faults if one["code"] != "signingCredential.untrusted"), None):
        raise MultigenError(_refused(identity, fault["explanation"]))
    return found


def _refused(identity: Identity, why: str) -> str:
    why = why.partition(": ")[2] or why
    need = "a certificate that an authority issued for emailProtection, with the authority's after it, and its key"
    return f"{identity.where}: it cannot sign media ({why}). Allowed: {need}, as PEM"


def _certificate(identity: Identity) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(identity.chain)
    except ValueError:
        raise MultigenError(_refused(identity, "it is no certificate in PEM")) from None


def _algorithm(certificate: Certificate) -> bytes:
    """The signature's algorithm, which follows from the kind of the key (C2PA specification 2.1, 13.2)."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {256: b"es256", 384: b"es384", 521: b"es512"}.get(key.curve.key_size, b"es256")
    return b"ps256" if isinstance(key, rsa.RSAPublicKey) else b"ed25519"


def _dot() -> bytes:
    """A PNG of one pixel."""
    rows = (
        (b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    )
    return png_file(rows)


def sign(content: bytes, suffix: str, made: Made, signing: Signing) -> bytes:
    """A file with a signed manifest of how it was made. MultigenError where it cannot be signed.

    An edit names its source, with the manifest that its file may have. Of a source that is no file, or no longer
    there, or damaged, or of a format without manifests, it says only that there is one.
    """
    source = None if made.source is None else _content(made.source)
    out = io.BytesIO()
    _sign(
        io.BytesIO(content),
        out,
        suffix,
        made,
        signing,
        None if source is None else (source[0], io.BytesIO(source[1])),
    )
    return out.getvalue()


def sign_file(path: Path, made: Made, signing: Signing) -> None:
    """Sign a file in place, as `sign`, in memory that no length needs more of."""
    kind = None if made.source is None or made.source.path is None else READ.get(made.source.suffix)
    with atomic(path) as temporary, ExitStack() as files:  # what is renamed is closed, and wholly written
        content, out = files.enter_context(path.open("rb")), files.enter_context(temporary.open("w+b"))
        source = None
        if kind is not None and made.source is not None and made.source.path is not None:
            with suppress(OSError):
                source = kind, files.enter_context(made.source.path.open("rb"))
        _sign(content, out, path.suffix.lower(), made, signing, source)


def _sign(
    content: BinaryIO,
    out: BinaryIO,
    suffix: str,
    made: Made,
    signing: Signing,
    source: tuple[str, BinaryIO] | None,
) -> None:
    import c2pa

    if source is not None:
        try:
            return _signed(content, out, suffix, made, signing, source)
        except c2pa.C2paError as error:
            log.debug("a source is named without its content: %s", error)
            content.seek(0)
            out.seek(0)
            out.truncate()
    try:
        _signed(content, out, suffix, made, signing)
    except c2pa.C2paError as error:
        raise MultigenError(f"provenance: a {suffix} file could not be signed ({error})") from error


def _signed(
    content: BinaryIO,
    out: BinaryIO,
    suffix: str,
    made: Made,
    signing: Signing,
    source: tuple[str, BinaryIO] | None = None,
) -> None:
    import c2pa

    definition = _manifest(made)
    name = "source" if made.source is None else f"source{made.source.suffix}"
    row = {"title": name, "relationship": "parentOf", "instance_id": SOURCE, "label": SOURCE}
    if made.edited and source is None:
        definition["ingredients"] = [row]
    with c2pa.Builder(definition, signing.context) as builder:
        if source is not None:
            builder.add_ingredient(json.dumps(row), source[0], source[1])
        builder.sign(signing.signer, TYPES[suffix], content, out)


def _content(source: SourceFile) -> tuple[str, bytes] | None:
    """The media type and the content of a source; None where manifests know no such type, or it is gone."""
    kind = READ.get(source.suffix)
    try:
        return None if kind is None else (kind, source.read())
    except OSError:
        return None


def _manifest(made: Made) -> dict[str, Any]:
    """The definition of a manifest: what was done, with which model."""
    agent = {"name": AGENT, "version": __version__}
    done: dict[str, Any] = {
        "action": made.action,
        "digitalSourceType": made.source_type,
        "softwareAgent": agent,
        "parameters": {"org.multigen.model": made.model, "org.multigen.weights_hash": made.weights_hash},
    }
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [SOURCE]}}
    return {
        "claim_generator_info": [agent],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [opened, done] if made.edited else [done]}},
            {"label": SAID, "data": made.data()},
        ],
    }
