"""Small media of every format that multigen writes, and certificates."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from torch import Tensor

from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.provenance.made import Made

MADE = Made("image_emoji", "0123456789abcdef")
TOLD = Made("image_emoji", "0123456789abcdef", embedded={"prompt": 'a "red" <apple> & 🍎\n\0', "seed": 3})
MODALITIES: dict[str, Modality] = {
    "image": Image(size=32),
    "audio": Audio(rate=16_000),
    "video": Video(size=32),
}
# Odd sizes: some formats pad them.
SHAPES = {"image": (3, 33, 47), "audio": (1, 4000), "video": (3, 4, 33, 47)}
FORMATS = [(kind, suffix) for kind, modality in MODALITIES.items() for suffix in modality.writes]
SIGNED = [(k, s) for k, s in FORMATS if s not in (".ogg", ".opus", ".mkv", ".webm")]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def medium(kind: str) -> Tensor:
    return torch.rand(SHAPES[kind], generator=torch.Generator().manual_seed(0)) - 0.5


def written(folder: Path, kind: str, suffix: str) -> Path:
    path = folder / f"medium{suffix}"
    MODALITIES[kind].write(medium(kind), path)
    return path


@dataclass(frozen=True)
class Pair:
    """Files of a certificate with its authority's, and of its key."""

    certificate: Path
    key: Path


def _name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A")]
    )


def _built(subject: str, issuer: str, public: Key, days: tuple[int, int]) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    begun = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
    begun = begun.public_key(public.public_key()).serial_number(x509.random_serial_number())
    begun = begun.not_valid_before(now + datetime.timedelta(days=days[0]))
    return begun.not_valid_after(now + datetime.timedelta(days=days[1])).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(public.public_key()), critical=False
    )


def _usage(certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, certifies, certifies, False, False)


def pair(
    folder: Path, key: Key | None = None, *, days: tuple[int, int] = (-1, 30), purpose: bool = True
) -> Pair:
    """A certificate of a new authority, as a company might give one."""
    root, own = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP256R1())
    authority = (
        _built("Company authority", "Company authority", root, (-60, 60))
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(_usage(True), critical=True)
        .sign(root, hashes.SHA256())
    )
    begun = (
        _built("Press office", "Company authority", own, days)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
    )
    if purpose:
        begun = begun.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    chain = begun.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM) + authority.public_bytes(
        Encoding.PEM
    )
    found = Pair(folder / "own.pem", folder / "own.key")
    found.certificate.write_bytes(chain)
    found.key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return found
