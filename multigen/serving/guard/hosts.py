"""Where a request may come from: the names that this server answers to, and pages that it served itself.

A page elsewhere that resolves its own name to this machine (DNS rebinding) sends its own name as Host; a page that
posts a form across sites sends its own Origin. Both are refused, on localhost too. CORS is closed: no answer ever
allows another origin.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE = ("GET", "HEAD")


@dataclass(frozen=True)
class Hosts:
    """Names that a request may carry as its Host.

    names      lower case, without ports
    addresses  whether any literal address is one too: a page cannot be rebound to it
    public     names that a proxy may keep to itself and pass on in Origin alone
    """

    names: frozenset[str] = LOCAL
    addresses: bool = False
    public: frozenset[str] = frozenset()

    def fault(self, method: str, headers: Mapping[str, str], *, page: bool) -> str | None:
        """What is wrong with where a request comes from; None if nothing is.

        headers  by their lower-case names
        page     whether what is asked for may be opened by a link elsewhere
        """
        host = headers.get("host", "")
        if not self._known(name_of(host)):
            return "Host: this server does not answer to that name; see --allow-host"
        origin = headers.get("origin")
        if origin is not None and not self._same(origin, host):
            return "Origin: pages of other sites may not use this server"
        site = headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin"):
            return None
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if page and opened and method in _SAFE:
            return None
        return "Sec-Fetch-Site: pages of other sites may not use this server"

    def _known(self, name: str) -> bool:
        return name in self.names or name in self.public or (self.addresses and _is_address(name))

    def _same(self, origin: str, host: str) -> bool:
        try:
            there = urlsplit(origin)
        except ValueError:
            return False
        if there.scheme not in ("http", "https") or not there.netloc:
            return False
        return there.netloc.lower() == host.lower() or name_of(there.netloc) in self.public


def hosts_of(listening: str, allowed: Iterable[str] = ()) -> Hosts:
    """The names of a server that listens on an address, and those that its user allows beside them."""
    public = frozenset(name.lower() for name in allowed)
    if is_local(listening):
        return Hosts(public=public)
    own = {socket.gethostname().lower(), listening.lower()}
    return Hosts(LOCAL | own, addresses=True, public=public)


def is_local(listening: str) -> bool:
    """Whether only this machine reaches an address."""
    if listening.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(listening).is_loopback
    except ValueError:
        return False


def name_of(host: str) -> str:
    """The name in `name:port`, lower case; "" where there is none."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.partition(":")
    return name if not port or port.isdecimal() else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
