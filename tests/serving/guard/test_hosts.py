"""Where requests may come from."""

from __future__ import annotations

import pytest

from multigen.serving.guard.hosts import Hosts, hosts_of, is_local, name_of

HOME = {"host": "localhost:8000"}
FORM = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
def test_this_machine_is_known_by_its_own_names(host: str) -> None:
    assert Hosts().fault("GET", {"host": host}, page=False) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:80@evil",
     "127.0.0.2", "10.0.0.1", "2130706433", "0x7f.1", "localhost:", "localhost:8000, evil", "[::1", "\0"],
)  # fmt: skip
def test_another_name_is_refused(host: str) -> None:
    fault = Hosts().fault("GET", {"host": host}, page=True)
    assert (fault is None) == (host in ("localhost:", "[::1")), host
    assert fault is None or fault.startswith("Host:")


def test_names_that_were_allowed_are_known_and_addresses_where_others_reach_it() -> None:
    behind = hosts_of("127.0.0.1", ["Media.example.org"])
    assert behind.fault("GET", {"host": "media.example.org"}, page=False) is None
    assert behind.fault("GET", {"host": "192.168.1.7"}, page=False) is not None
    beyond = hosts_of("0.0.0.0")
    assert beyond.fault("GET", {"host": "192.168.1.7:8000"}, page=False) is None
    assert beyond.fault("GET", {"host": "evil.example"}, page=False) is not None


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://localhost:3000", "http://127.0.0.1:8000", "file://", "", "http://",
     "http://localhost:8000.evil.example", "http://[", "chrome-extension://localhost:8000"],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    fault = Hosts().fault("POST", {**HOME, "origin": origin}, page=True)
    assert fault is not None and fault.startswith("Origin:")


def test_the_page_of_this_server_may_ask_also_behind_a_proxy_that_ends_tls() -> None:
    assert Hosts().fault("POST", {**HOME, "origin": "http://localhost:8000"}, page=False) is None
    assert Hosts().fault("POST", {**HOME, "origin": "https://localhost:8000"}, page=False) is None
    public = hosts_of("127.0.0.1", ["media.example.org"])
    assert public.fault("POST", {**HOME, "origin": "https://media.example.org"}, page=False) is None


def test_a_link_elsewhere_may_open_the_page_and_nothing_else() -> None:
    link = {
        **HOME,
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert Hosts().fault("GET", link, page=True) is None
    for headers, method, page in [
        (link, "GET", False),
        (link, "POST", True),
        ({**link, "sec-fetch-dest": "iframe"}, "GET", True),
        ({**link, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, "GET", True),
        ({**HOME, "sec-fetch-site": "same-site"}, "GET", True),
        ({**HOME, **FORM}, "POST", True),
    ]:
        assert Hosts().fault(method, headers, page=page) is not None


@pytest.mark.parametrize(
    ("listening", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.9.9.9", True),
     ("0.0.0.0", False), ("::", False), ("192.168.0.2", False), ("media", False), ("", False)],
)  # fmt: skip
def test_which_addresses_stay_on_this_machine(listening: str, local: bool) -> None:
    assert is_local(listening) is local


def test_ports_are_cut_off() -> None:
    assert [name_of(h) for h in ("A:1", "[::1]:2", "a:b", " x ")] == ["a", "::1", "", "x"]
