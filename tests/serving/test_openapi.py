"""The OpenAPI document is true, whatever is sent: what it allows, what it does not, and what is no request at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from multigen.serving.api.state import Limits
from tests.serving.servers import Running, running, small_models

Row = dict[str, Any]
# Whatever is allowed is made at once.
LIMITS = Limits(upload=1 << 20, pixels=4096, seconds=1.0, prompt=200, steps=2, n=2)
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
OPERATIONS = [
    "GET /health", "GET /metrics", "GET /ready", "GET /v1/files/{name}/content", "GET /v1/jobs/{name}",
    "GET /v1/jobs/{name}/events", "GET /v1/models", "GET /v1/models/{name}", "GET /v1/videos",
    "GET /v1/videos/{name}", "GET /v1/videos/{name}/content", "DELETE /v1/jobs/{name}", "DELETE /v1/videos/{name}",
    "POST /v1/audio/edits", "POST /v1/audio/generations", "POST /v1/audio/speech", "POST /v1/images/edits",
    "POST /v1/images/generations", "POST /v1/jobs", "POST /v1/media/info", "POST /v1/videos",
    "POST /v1/videos/{name}/remix",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    sources = small_models(tmp_path_factory.mktemp("models"))
    with running(sources, tmp_path_factory.mktemp("store"), limits=LIMITS) as one:
        yield one


@pytest.fixture(scope="module")
def document(tiny: Running) -> Any:
    return schemathesis.openapi.from_url(f"{tiny.url}/openapi.json")


@pytest.fixture(scope="module")
def there(tiny: Running) -> dict[str, list[Row]]:
    """Path parameters and queries of what is there, by the beginning of a path."""
    with httpx.Client(base_url=tiny.url, timeout=60) as client:
        job = client.post("/v1/jobs", json={"prompt": "3", "steps": 1}).json()["id"]
        assert client.get(f"/v1/jobs/{job}/events").status_code == 200
        url = urlsplit(client.get(f"/v1/jobs/{job}").json()["data"][0]["url"])
        video = client.post("/v1/videos", data={"prompt": "panda", "steps": "1"}, files={"a": b""}).json()
        assert video["error"], "a file that no route reads"
        form = {"prompt": (None, "panda"), "steps": (None, "1")}
        video = client.post("/v1/videos", files=form).json()["id"]
        while client.get(f"/v1/videos/{video}").json()["status"] != "completed":
            pass
    return {
        "/v1/jobs/": [{"name": job}],
        "/v1/videos/": [{"name": video}],
        "/v1/models/": [{"name": name} for name in ("digits", "music", "moving")],
        "/v1/files/": [{"name": url.path.split("/")[3], **dict(parse_qsl(url.query))}],
    }


def operations(document: Any) -> dict[str, Any]:
    return {one.ok().label: one.ok() for one in document.get_all_operations()}


def test_the_document_has_every_operation(document: Any) -> None:
    assert sorted(operations(document)) == sorted(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_whatever_is_sent_the_document_is_true(
    label: str, document: Any, there: dict[str, list[Row]]
) -> None:
    try_all(label, document, there, 10)


@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATIONS)
def test_whatever_is_sent_for_long(label: str, document: Any, there: dict[str, list[Row]]) -> None:
    try_all(label, document, there, 150)


@st.composite
def sendable(draw: st.DrawFn, kinds: st.SearchStrategy[Any]) -> Any:
    """A case, or none where schemathesis stumbles over the bytes of a file that it has itself put elsewhere."""
    try:
        return draw(kinds)
    except ValueError as error:
        if "Unsupported type: 'Binary'" not in str(error):
            raise
        reject()


def try_all(label: str, document: Any, there: dict[str, list[Row]], examples: int) -> None:
    """Send examples of what the document allows and of what it does not, to what is there and to what is not."""
    operation = operations(document)[label]
    known = next((rows for begin, rows in there.items() if operation.path.startswith(begin)), [])
    kinds = sendable(st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=kinds, row=st.sampled_from([None] if label.startswith("DELETE") else [None, *known]))
    def check(case: Any, row: Row | None) -> None:
        if row is not None:
            case.path_parameters = {"name": row["name"]}
            case.query = {**(case.query or {}), **{k: v for k, v in row.items() if k != "name"}}
        answer = case.call(timeout=30)
        assert answer.status_code != 500, case.as_curl_command()
        case.validate_response(answer, checks=CHECKS)
        if row is not None and label == "GET /v1/files/{name}/content":
            assert answer.status_code in (200, 206, 416)

    check()
