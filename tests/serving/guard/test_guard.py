"""The guard around the app, over a real connection."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multigen.serving.guard.keys import add_key
from tests.serving.hosted import Answer, Hosted, hosted

MAKE = "/v1/images/generations"
ONE = {"prompt": "3", "steps": 2}


@pytest.fixture(scope="module")
def locked(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hosted, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("locked")
    path = folder / "keys.json"
    secrets = {
        "ana": add_key(path, "ana"),
        "reader": add_key(path, "reader", ["read"]),
        "prometheus": add_key(path, "prometheus", ["metrics"]),
        "few": add_key(path, "few", requests_per_minute=2),
        "small": add_key(path, "small", units_per_minute=2.5 * 28 * 28 / 65536),
        "first": add_key(path, "first", max_priority=5),
    }
    with hosted(digits, folder / "store", keys=path, allow_hosts=["media.example.org"]) as one:
        yield one, secrets


def asked(
    one: Hosted, secret: str | None, method: str = "POST", path: str = MAKE, body: object = ONE
) -> Answer:
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    return one.ask(method, path, body if method == "POST" else None, headers)


def test_without_a_key_nothing_but_health_answers(locked: tuple[Hosted, dict[str, str]]) -> None:
    one, secrets = locked
    for method, path in (("POST", MAKE), ("GET", "/v1/models"), ("GET", "/v1/none"), ("GET", "/metrics")):
        for wrong in (None, "mg_wrong", secrets["ana"][:-1], secrets["ana"] + "x"):
            answer = asked(one, wrong, method, path)
            assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert answer.error["type"] == "authentication_error"
    assert asked(one, None, "GET", "/health").status == 200
    assert asked(one, None, "GET", "/ready").status == 200
    for trick in (
        "//v1/models",
        "/v1/../v1/models",
        "/%76%31/models",
        "/V1/models",
        "/v1/models/",
        "/v1;/models",
    ):
        assert asked(one, None, "GET", trick).status in (401, 403, 404, 307), trick


def test_scopes(locked: tuple[Hosted, dict[str, str]]) -> None:
    one, secrets = locked
    table = {
        ("ana", "POST", MAKE): 200, ("ana", "GET", "/v1/models"): 200, ("ana", "GET", "/metrics"): 403,
        ("reader", "POST", "/v1/media/info"): 400, ("prometheus", "POST", "/v1/media/info"): 403,
        ("reader", "POST", MAKE): 403, ("reader", "GET", "/v1/models"): 200, ("reader", "DELETE", "/v1/x"): 403,
        ("prometheus", "GET", "/metrics"): 200, ("prometheus", "GET", "/v1/models"): 403,
    }  # fmt: skip
    for (name, method, path), status in table.items():
        answer = asked(one, secrets[name], method, path)
        assert answer.status == status, (name, method, path)
        if status == 403:
            assert answer.error["code"] == "missing_scope"


def test_budgets_of_requests_and_of_units(locked: tuple[Hosted, dict[str, str]]) -> None:
    one, secrets = locked
    assert [asked(one, secrets["few"], "GET", "/v1/models").status for _ in range(3)] == [200, 200, 429]
    late = asked(one, secrets["few"], "GET", "/v1/models")
    assert late.error["code"] == "rate_limit_exceeded" and 1 <= int(late.headers["retry-after"]) <= 31
    assert asked(one, secrets["small"], body={**ONE, "n": 3}).status == 400  # more than a minute's
    assert asked(one, secrets["small"], body={**ONE, "n": 2}).status == 200
    spent = asked(one, secrets["small"], body={**ONE, "n": 2})
    assert spent.status == 429 and "units" in spent.error["message"]


def test_who_may_overtake_others_is_said_by_the_key(locked: tuple[Hosted, dict[str, str]]) -> None:
    one, secrets = locked
    refused = asked(one, secrets["ana"], body={**ONE, "priority": 1})
    assert refused.status == 403 and refused.error["param"] == "priority"
    assert asked(one, secrets["ana"], body={**ONE, "priority": 0}).status == 200
    assert asked(one, secrets["first"], body={**ONE, "priority": 5}).status == 200
    assert asked(one, secrets["first"], body={**ONE, "priority": 6, "user": "x"}).status == 403


def test_every_answer_has_an_id_and_security_headers(guarded: Hosted) -> None:
    for method, path, body in (
        ("GET", "/v1/models", None), ("GET", "/nothing", None), ("POST", MAKE, {"prompt": "3", "n": 0}),
        ("OPTIONS", MAKE, None), ("POST", MAKE, b"{"), ("PUT", MAKE, b"{}"),
    ):  # fmt: skip
        answer = guarded.ask(method, path, body)
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not any(name.startswith("access-control") for name in answer.headers)
        if answer.status >= 400:
            assert set(answer.error) == {"message", "type", "param", "code"} and answer.error["message"]
    own = guarded.ask("GET", "/health", headers={"x-request-id": "mine-1.2_3"})
    assert own.headers["x-request-id"] == "mine-1.2_3"
    for bad in ("a b", "x" * 129, "<script>", "é"):
        answer = guarded.ask("GET", "/health", headers={"x-request-id": bad})
        assert answer.headers["x-request-id"].startswith("req_")


def test_other_sites_and_other_names_are_refused(guarded: Hosted) -> None:
    for headers in (
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": f"http://localhost:{guarded.port + 1}"},
    ):
        for method, path in (("POST", MAKE), ("GET", "/v1/models"), ("OPTIONS", MAKE), ("GET", "/metrics")):
            answer = guarded.ask(method, path, ONE if method == "POST" else None, headers)
            assert (answer.status, answer.error["code"]) == (403, "forbidden_origin")
    two = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert guarded.raw(two).split()[1] in (b"400", b"403")
    form = {"content-type": "multipart/form-data; boundary=x", "origin": "https://evil.example"}
    assert guarded.ask("POST", "/v1/images/edits", b"--x--", form).status == 403


def test_bodies_of_other_kinds_are_refused(guarded: Hosted) -> None:
    """A page elsewhere can send text/plain and forms without asking; JSON it cannot."""
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "",
        "application/json5",
    ):
        answer = guarded.ask("POST", MAKE, json.dumps(ONE).encode(), {"content-type": kind})
        assert answer.status == 415, kind
    packed = {"content-encoding": "gzip"}
    assert guarded.ask("POST", MAKE, b"\x1f\x8b", packed).status == 415


def test_a_body_is_refused_by_its_length_before_it_is_read(guarded: Hosted) -> None:
    head = f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    begun = time.monotonic()
    found = guarded.raw(f"{head}Content-Length: 99999999999\r\n\r\n".encode() + b"{", half_close=True)
    assert b" 413 " in found.split(b"\r\n")[0] and b"body_too_large" in found
    assert time.monotonic() - begun < 5
    for length in ("-1", "abc", "1e3", "1, 2", "9" * 30):
        found = guarded.raw(f"{head}Content-Length: {length}\r\n\r\n{{".encode(), half_close=True)
        assert found.split()[1] in (b"400", b"413"), length


def test_a_body_without_a_length_is_counted(guarded: Hosted) -> None:
    head = f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += "Transfer-Encoding: chunked\r\n"
    chunk = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
    found = guarded.raw(head.encode() + b"\r\n" + chunk * 9 + b"0\r\n\r\n")
    assert b" 413 " in found.split(b"\r\n")[0]
    smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    both = guarded.raw(head.encode() + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + smuggled)
    assert both.count(b"HTTP/1.1 ") <= 2 and b" 200 " not in both.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"prompt": "3", "steps": NaN}', b'{"prompt": "3", "steps": Infinity}',
     b'{"prompt": "3", "seed": ' + b"9" * 5000 + b"}", b"\xff\xfe{}", b'{"prompt": "\xff"}', b"", b"null", b'"x"',
     b"[]"],
    ids=lambda b: repr(b[:20]),
)  # fmt: skip
def test_json_that_is_none(guarded: Hosted, body: bytes) -> None:
    answer = guarded.ask("POST", MAKE, body)
    assert answer.status == 400 and answer.error["type"] == "invalid_request_error"


def test_the_log_has_a_line_an_answer_and_no_prompt(
    guarded: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "multigen"):
        guarded.ask("POST", MAKE, {"prompt": "7", "steps": 2, "negative_prompt": "", "user": "u"})
        guarded.ask("POST", MAKE, {"prompt": "secret words"})
        guarded.ask("GET", "/v1/files/file_abcdefgh.png/content?expires=1&signature=hidden")
        guarded.quiet()
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "multigen.access"]
    lines = lines[-3:]  # that of an earlier answer may come late
    assert [line["status"] for line in lines] == [200, 400, 403]
    assert lines[0]["route"] == MAKE and lines[0]["seconds"] > 0 and lines[0]["bytes"] > 100
    assert "secret" not in caplog.text and "hidden" not in caplog.text


def test_prompts_are_logged_where_that_is_wanted(
    digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with hosted(digits, tmp_path, log_prompts=True) as one, caplog.at_level(logging.INFO, "multigen"):
        one.ask("POST", MAKE, ONE)
        one.ask("POST", MAKE, b"[1]")
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "multigen.access"]
    assert [line["prompt"] for line in lines if line["event"] == "prompt"] == ["3"]


def test_while_draining_nothing_new_is_taken(digits: Path, tmp_path: Path) -> None:
    with hosted(digits, tmp_path) as one:
        one.server.draining = True
        refused = one.ask("POST", MAKE, ONE)
        assert (
            refused.status == 503 and refused.error["code"] == "draining" and refused.headers["retry-after"]
        )
        assert one.ask("GET", "/ready").status == 503 and one.ask("GET", "/health").status == 200
        assert one.ask("GET", "/v1/models").status == 200


def test_behind_a_proxy(digits: Path, tmp_path: Path) -> None:
    """Media get addresses that work through it, whether it cuts its prefix off or not."""
    with hosted(digits, tmp_path, root_path="/media", allow_hosts=["media.example.org"]) as one:
        headers = {"host": "media.example.org", "x-forwarded-proto": "https"}
        made = one.ask("POST", MAKE, {**ONE, "response_format": "url"}, headers)
        url = made.json["data"][0]["url"]
        assert url.startswith("https://media.example.org/media/v1/files/")
        path = url.removeprefix("https://media.example.org")
        for there in (path, path.removeprefix("/media")):
            answer = one.ask("GET", there, headers=headers)
            assert answer.status == 200 and answer.body.startswith(b"\x89PNG")
        assert one.ask("GET", "/media/v1/models", headers=headers).status == 200


def test_a_client_that_goes_away_within_a_form_is_no_error_of_the_server(
    guarded: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    head = "POST /v1/images/edits HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    part = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nGIF89a'
    with caplog.at_level(logging.INFO, "multigen"):
        guarded.raw(f"{head}content-length: 9999\r\n\r\n".encode() + part, half_close=True)
        guarded.quiet()
    (line,) = [json.loads(r.getMessage()) for r in caplog.records if r.name == "multigen.access"][-1:]
    assert line["status"] == 499 and "an answer failed" not in caplog.text
