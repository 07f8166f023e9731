"""What a file says of how it was made: its signed manifest, and its plain metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multigen.errors import MediaError, MultigenError, reason
from multigen.provenance.authority import local_authority
from multigen.provenance.known import READ
from multigen.provenance.marking import SIDECAR
from multigen.provenance.packet import MOST, parse_said, read_packet
from multigen.provenance.signing import CERTIFICATE, SAID, SETTINGS, installed
from multigen.storage.packages import install

if TYPE_CHECKING:
    import c2pa

# trusted: signed, intact, and the signer is known. signed: intact, by somebody who is not known. altered: the content,
# or the manifest, is not what was signed. unreadable: the file, or its manifest, cannot be read. unsigned: none.
State = Literal["trusted", "signed", "altered", "unreadable", "unsigned"]
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Signed:
    """The manifest of a file, as far as it can be told.

    state      what the check of it says
    by         the name in the certificate, and who issued that
    faults     what is wrong, each a code of C2PA with its explanation
    actions    what was done, in order: action, digital source type, software
    sources    what it was made from, by title
    said       what multigen says of it (`Made.data`); empty in files of others
    """

    state: State
    by: str = ""
    faults: tuple[str, ...] = ()
    actions: tuple[Mapping[str, str], ...] = ()
    sources: tuple[str, ...] = ()
    said: Mapping[str, Any] = field(default_factory=dict)


def check_file(path: Path) -> None:
    """MediaError for what is no file, or cannot be read."""
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    if not path.is_file():
        raise MediaError(f"{path}: is no file")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path}: cannot be read (permission denied)")


def check_medium(path: Path) -> None:
    """MediaError for what is no file, empty, or cannot be read: nothing can be said of it."""
    check_file(path)
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty")


def read_said(path: Path) -> dict[str, Any] | None:
    """What the plain metadata of a file say (`Made.data`), or the JSON file beside it; None where they say nothing."""
    check_file(path)
    try:
        if (found := read_packet(path)) is not None:
            return found
        beside = path.with_name(path.name + SIDECAR)
        if beside.is_file() and beside.stat().st_size <= MOST:
            return parse_said(beside.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({reason(error)})") from error
    return None


def anchors(trust: Sequence[Path] = ()) -> str:
    """Certificates of authorities that are trusted, PEM: the local one's, the user's own, and those in files."""
    found = [] if (local := local_authority()) is None else [local]
    if own := os.environ.get(CERTIFICATE):
        trust = [*trust, Path(own).expanduser()]
    for path in trust:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MultigenError(f"{path}: the certificates cannot be read ({reason(error)})") from error
        _check_certificates(path, content)
        found.append(content)
    return "\n".join(content.decode("ascii", "replace").strip() for content in found)


def _check_certificates(path: Path, content: bytes) -> None:
    """MultigenError for a file that is no list of certificates."""
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        raise MultigenError(f"{path}: there is no certificate in PEM") from None


def read_signed(path: Path, trust: Sequence[Path] = ()) -> Signed:
    """The manifest of a file, checked against its content. `trust`: certificates of more authorities, PEM.

    No other host is asked. MediaError for what is no file; MultigenError without the extra `provenance`.
    """
    check_file(path)
    if not installed():
        raise MultigenError(f"signatures are read with the package c2pa-python: {install('provenance')}")
    kind = READ.get(path.suffix.lower())
    if kind is None or path.stat().st_size == 0:
        return Signed("unsigned")
    with _context(anchors(trust)) as context:
        return _checked(path, kind, context)


def _checked(path: Path, kind: str, context: c2pa.Context) -> Signed:
    """The manifest of a file of a media type."""
    import c2pa

    try:
        with path.open("rb") as file, c2pa.Reader(kind, file, None, context) as reader:
            return _told(json.loads(reader.json()))
    except c2pa.C2paError as error:
        text = str(error)
        if "ManifestNotFound" in type(error).__name__ or text.startswith("ManifestNotFound"):
            return Signed("unsigned")
        return Signed("unreadable", faults=(text[:200],))
    except (ValueError, RecursionError) as error:
        return Signed("unreadable", faults=(str(error)[:200],))


def _context(trusted: str) -> c2pa.Context:
    """How manifests are checked. MultigenError for certificates that cannot be read."""
    import c2pa

    settings = {**SETTINGS, "trust": {"user_anchors": trusted}} if trusted else SETTINGS
    try:
        return c2pa.Context.from_dict(dict(settings))
    except c2pa.C2paError as error:
        raise MultigenError(f"the certificates that are trusted cannot be read ({error})") from None


def _told(store: Mapping[str, Any]) -> Signed:
    """The active manifest of a store, as the library tells it."""
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    results = store.get("validation_results", {}).get("activeManifest", {})
    faults = [one for one in results.get("failure", []) if one.get("code") != _UNTRUSTED]
    who = manifest.get("signature_info", {})
    by = who.get("common_name") or ""
    if who.get("issuer"):
        by = f"{by} ({who['issuer']})" if by else str(who["issuer"])
    if faults or store.get("validation_state") == "Invalid":
        state: State = "altered"
    else:
        state = "trusted" if store.get("validation_state") == "Trusted" else "signed"
    said = next((one["data"] for one in manifest.get("assertions", []) if one.get("label") == SAID), {})
    return Signed(
        state,
        by,
        tuple(f"{one.get('code')}: {one.get('explanation', '')}" for one in faults),
        tuple(_actions(manifest)),
        tuple(str(one.get("title", "")) for one in manifest.get("ingredients", [])),
        parse_said(json.dumps(said)) or {},
    )


def _actions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    for assertion in manifest.get("assertions", []):
        if not str(assertion.get("label", "")).startswith("c2pa.actions"):
            continue
        for one in assertion.get("data", {}).get("actions", []):
            agent = one.get("softwareAgent") or ""
            if isinstance(agent, Mapping):
                agent = f"{agent.get('name', '')} {agent.get('version', '')}".strip()
            row = {
                "action": one.get("action"),
                "digital_source_type": one.get("digitalSourceType"),
                "software": agent,
            }
            yield {key: str(value) for key, value in row.items() if value}
