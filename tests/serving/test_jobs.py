"""Jobs: events, cancelling, idempotency keys, and what survives a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.servers import Running, running

BODY: dict[str, Any] = {"model": "digits", "prompt": "4", "steps": 3, "seed": 2}


def events(url: str, name: str) -> list[dict[str, Any]]:
    text = httpx.get(f"{url}/v1/jobs/{name}/events", timeout=120).text
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_a_job_from_its_queue_to_its_files(served: Running) -> None:
    made = httpx.post(f"{served.url}/v1/jobs", json={**BODY, "n": 2, "previews": 1, "format": "webp"})
    assert made.status_code == 201, made.text
    name = made.json()["id"]
    found = events(served.url, name)
    kinds = [one["type"] for one in found]
    assert kinds[0] == "queued" and kinds[-1] == "done"
    assert kinds.count("preview") == kinds.count("medium") == 2
    steps = [one for one in found if one["type"] == "step" and one["index"] == 0]
    assert [one["step"] for one in steps] == list(range(1, steps[0]["of"] + 1))
    job = httpx.get(f"{served.url}/v1/jobs/{name}").json()
    assert (job["status"], [row["seed"] for row in job["data"]]) == ("completed", [2, 3])
    assert httpx.get(job["data"][0]["url"]).content[8:12] == b"WEBP"
    assert [one["type"] for one in events(served.url, name)] == ["done"]
    assert httpx.delete(f"{served.url}/v1/jobs/{name}").json()["deleted"]
    assert httpx.get(job["data"][0]["url"]).status_code == 404


def test_a_job_is_cancelled(served: Running) -> None:
    name = httpx.post(f"{served.url}/v1/jobs", json={**BODY, "steps": 100, "n": 4}).json()["id"]
    assert httpx.delete(f"{served.url}/v1/jobs/{name}").json()["status"] == "cancelled"
    assert events(served.url, name)[-1]["type"] == "cancelled"


def test_an_idempotency_key(served: Running) -> None:
    key = {"idempotency-key": "once"}
    first, again = (httpx.post(f"{served.url}/v1/jobs", json=BODY, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = httpx.post(f"{served.url}/v1/jobs", json={**BODY, "seed": 3}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_a_server_that_was_slower_tells_of_another_body_too(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"idempotency-key": "at the same time"}
    assert httpx.post(f"{served.url}/v1/jobs", json=BODY, headers=key).status_code == 201
    known, looks = served.server.background.record, list[str]()

    async def late(name: str) -> dict[str, Any] | None:
        looks.append(name)
        return None if len(looks) == 1 else await known(name)  # at first the other has not begun

    monkeypatch.setattr(served.server.background, "record", late)
    other = httpx.post(f"{served.url}/v1/jobs", json={**BODY, "seed": 3}, headers=key)
    assert other.status_code == 409 and len(looks) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"stepz": 3}, "'steps'"),
        ({"edit": {"media": "aGk=", "strengh": 1}}, "'strength'"),
        ({"edit": {"media": "http://10.0.0.1/x.png"}}, "not fetched"),
        ({"edit": {"media": "/etc/passwd"}}, "base64"),
        ({"overrides": ["weights=x"]}, "overrides"),
        ({"overrides": ["guide.weights=/etc/passwd"]}, "number"),
        ({"overrides": ["sample.steps=101"]}, "up to 100"),
        ({"overrides": ["sampler=restart", "sampler.steps=20", "sampler.repeats=20"]}, "up to 100"),
        ({"sampler": {"name": "restart", "steps": 1_000_000, "repeats": 1_000_000}}, "up to 100"),
        ({"sampler": {"name": "adaptive", "budget": 1_000_000}}, "up to 100"),
        ({"overrides": ["sample.polish.passes=1e9"]}, "up to 100"),
        ({"overrides": ["codec.iterations=100000"]}, "up to 100"),
        ({"format": "exe"}, "png"),
    ],
    ids=str,
)
def test_jobs_that_are_refused(served: Running, more: dict[str, Any], said: str) -> None:
    answer = httpx.post(f"{served.url}/v1/jobs", json={**BODY, **more})
    assert answer.status_code in (400, 415)
    assert said in answer.json()["error"]["message"]


def test_a_restart_fails_what_was_under_way_and_keeps_the_rest(tmp_path: Path) -> None:
    sources = {"digits": "image_digits"}
    with running(sources, tmp_path) as one:
        key = {"idempotency-key": "k"}
        name = httpx.post(f"{one.url}/v1/jobs", json=BODY, headers=key).json()["id"]
        assert events(one.url, name)[-1]["type"] == "done"
        slow = httpx.post(f"{one.url}/v1/jobs", json={**BODY, "steps": 100}).json()["id"]
    lost = tmp_path / "job_0123456789abcdef.json"
    record = json.loads((tmp_path / f"{name}.json").read_text())
    lost.write_text(
        json.dumps({**record, "id": lost.stem, "status": "queued", "files": [], "idempotency": None})
    )
    with running(sources, tmp_path) as two:
        job = httpx.get(f"{two.url}/v1/jobs/{name}").json()
        assert len(httpx.get(job["data"][0]["url"]).content) > 100
        assert httpx.post(f"{two.url}/v1/jobs", json=BODY, headers=key).json()["id"] == name
        assert httpx.get(f"{two.url}/v1/jobs/{slow}").json()["error"]["code"] == "draining"
        assert httpx.get(f"{two.url}/v1/jobs/{lost.stem}").json()["error"]["code"] == "restarted"
