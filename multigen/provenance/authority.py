"""A local certificate authority: made once in the user's configuration folder, it certifies the key that signs.

It says that files come from the same installation, not who the user is. C2PA wants a certificate that an authority
issued, with the purpose emailProtection (C2PA specification 2.1, 14.5.1).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from multigen.errors import MultigenError
from multigen.storage.config_folder import config_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder, Name

FOLDER = "provenance"
AUTHORITY, CERTIFICATE = "authority", "certificate"  # .pem and .key of each
_YEARS, _DAYS = 10, 397  # for which the authority and its certificate are valid
_RENEW = timedelta(days=30)  # before its end the certificate is made anew


@dataclass(frozen=True)
class Identity:
    """Who signs.

    chain  its certificate and those of the authorities above it, PEM
    key    its private key, PEM
    where  the file of the certificate, for messages
    """

    chain: bytes
    key: bytes = field(repr=False)
    where: str


def local_authority() -> bytes | None:
    """The certificate of the local authority, PEM; None where none was made."""
    try:
        return (config_folder(FOLDER) / f"{AUTHORITY}.pem").read_bytes()
    except OSError:
        return None


def local_identity() -> Identity:
    """The local identity, made where there is none, and renewed before it ends or where it is damaged.

    OSError where it cannot be written, MultigenError for an authority that is damaged.
    """
    folder = config_folder(FOLDER)
    if not (folder / f"{AUTHORITY}.pem").is_file():
        _make(folder)
    if (found := _whole(folder)) is not None:
        return found
    with FileLock(folder / ".lock", mode=0o600):  # threads and processes renew one after another
        if (found := _whole(folder)) is None:
            _renew(folder)
            found = _whole(folder, timedelta(0))
    if found is None:
        raise MultigenError(_damaged(folder))
    return found


def _whole(folder: Path, lasts: timedelta | None = None) -> Identity | None:
    """The identity, if its certificate and key belong together and hold for `lasts`, by default for a while yet."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    place = folder / f"{CERTIFICATE}.pem"
    try:
        chain, key = place.read_bytes(), (folder / f"{CERTIFICATE}.key").read_bytes()
        certificate = x509.load_pem_x509_certificate(chain)
        own = load_pem_private_key(key, None).public_key() == certificate.public_key()
    except (FileNotFoundError, ValueError, TypeError):  # it is being written, or was not written to its end
        return None
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    good = own and left >= (_RENEW if lasts is None else lasts)
    return Identity(chain, key, str(place)) if good else None


def _damaged(folder: Path) -> str:
    return (
        f"{folder}: its certificates are damaged. Remove the folder: a new authority is made then, which others have "
        "to trust anew"
    )


def _make(folder: Path) -> None:
    """Write a new authority and its certificate; of several processes that try at once, one does."""
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 700
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"multigen local authority {os.urandom(4).hex()}")
        _write(temporary, AUTHORITY, _authority(key, name), key)
        _certify(temporary, key, name)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not (folder / f"{AUTHORITY}.pem").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _renew(folder: Path) -> None:
    """Write a new certificate of the authority that is there."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        authority = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.pem").read_bytes())
        key = load_pem_private_key((folder / f"{AUTHORITY}.key").read_bytes(), None)
    except (ValueError, TypeError):
        raise MultigenError(_damaged(folder)) from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise MultigenError(_damaged(folder))
    _certify(folder, key, authority.subject)


def _certify(folder: Path, authority: EllipticCurvePrivateKey, name: Name) -> None:
    """Write a new key and its certificate. They are apart for an instant, which `_whole` sees."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    text = _certificate(key, authority, name) + (folder / f"{AUTHORITY}.pem").read_bytes()
    _write(folder, CERTIFICATE, text, key)


def _write(folder: Path, name: str, certificate: bytes, key: EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives import serialization as form

    text = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    for suffix, content, mode in ((".key", text, 0o600), (".pem", certificate, 0o644)):
        temporary = folder / f".{name}{suffix}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{name}{suffix}")


def _name(text: str) -> Name:
    from cryptography.x509 import Name, NameAttribute
    from cryptography.x509.oid import NameOID

    return Name(
        [NameAttribute(NameOID.ORGANIZATION_NAME, "multigen"), NameAttribute(NameOID.COMMON_NAME, text)]
    )


def _begun(key: EllipticCurvePrivateKey, subject: Name, issuer: Name, days: int) -> CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority(key: EllipticCurvePrivateKey, name: Name) -> bytes:
    from cryptography import x509

    begun = _begun(key, name, name, 365 * _YEARS).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return _signed(begun, key, certifies=True)


def _certificate(key: EllipticCurvePrivateKey, authority: EllipticCurvePrivateKey, issuer: Name) -> bytes:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    begun = (
        _begun(key, _name("multigen local certificate"), issuer, _DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(above, critical=False)
    )
    return _signed(begun, authority, certifies=False)


def _signed(begun: CertificateBuilder, key: EllipticCurvePrivateKey, *, certifies: bool) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=certifies, crl_sign=certifies, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    found: Certificate = begun.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    return found.public_bytes(Encoding.PEM)
