"""Logs and traces of a real server on PostgreSQL: a task's id finds its records, and no secret is in them."""

import json
import re
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from deployments.cli.admin import main as admin
from deployments.settings.api_keys import hash_key
from tests.e2e.server import QUICK, Server, running_server
from tests.otlp import Receiver, receiving
from tests.postgres import running_postgres

REQUEST_ID, TRACE_ID, SPAN_ID = "checkout-42", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"X-Request-Id": REQUEST_ID, "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
SECRETS = {
    "prompt": "zebra-crossing-at-dawn",
    "negative prompt": "blurry-aardvark",
    "key": "ltx2-key-of-nobody-else",
    "password of the database": "hunter-of-databases",
    "secret of the bucket": "hunter-of-buckets",
}
NO_CLIP_SO_LARGE = {"max_side_px": 16_384, "max_total_pixels": 10**12}
DATABASE_URL = "LTX2_DATABASE_URL"
DEPLOYMENTS = ("Ingress", "Dispatcher", "Generator", "Encoder")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running_postgres() as postgres:
        url = make_url(postgres.database()).set(password=SECRETS["password of the database"])
        args = {
            "api_keys": [{"name": "shop", "sha256": hash_key(SECRETS["key"])}],
            "limits": NO_CLIP_SO_LARGE,
        }
        environment = {
            DATABASE_URL: url.render_as_string(hide_password=False),
            "AWS_SECRET_ACCESS_KEY": SECRETS["secret of the bucket"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint.removesuffix("/v1/traces"),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with running_server(folder, args, environment) as running:
            running.client.headers["Authorization"] = f"Bearer {SECRETS['key']}"
            yield running


@pytest.fixture(scope="module")
def task(server: Server) -> str:
    """A completed task of a client that sent a request id and a trace id."""
    fields = {**QUICK, "prompt": SECRETS["prompt"], "negative_prompt": SECRETS["negative prompt"]}
    answer = server.client.post("/v1/video/async_t2v", json=fields, headers=HEADERS)
    assert answer.headers.get_list("x-request-id") == [REQUEST_ID]
    task_id = str(answer.json()["task_id"])
    assert server.wait(task_id)["status"] == "completed"
    return task_id


def test_every_deployment_names_task_attempt_stage_and_request_on_its_lines(server: Server, task: str) -> None:
    found = {name: _lines(server, name, task) for name in DEPLOYMENTS}
    assert all(found[name] for name in ("Ingress", "Generator", "Encoder")), found
    for name, lines in found.items():
        assert {line["request_id"] for line in lines} <= {REQUEST_ID}, name
        assert {line["attempt"] for line in lines} <= {1}, name
    assert {"loading", "encoding"} <= {line.get("stage") for line in found["Generator"]}
    assert {line.get("stage") for line in found["Encoder"]} == {"encoding"}
    assert f"{REQUEST_ID} -- task {task}: accepted" in server.log(), "the console is for people"


def test_what_serves_own_processes_write_are_records_too(server: Server, task: str) -> None:
    """From the build of the app on: `serve run` starts these processes before it."""
    for process in ("controller", "proxy"):
        named = {path.name: path for path in server.ray_logs()}  # session_latest lists each file a second time
        (path,) = (path for name, path in named.items() if re.fullmatch(rf"{process}_(?!build).*\.log", name))
        lines = path.read_text().splitlines()
        records = list(dropwhile(lambda line: not line.startswith("{"), lines))
        assert records, path.name
        assert all({"asctime", "levelname", "message"} <= set(json.loads(line)) for line in records), path.name


def test_a_request_without_an_id_is_given_one(server: Server, task: str) -> None:
    given = [server.client.get(f"/v1/video/tasks/{task}").headers["x-request-id"] for _ in range(2)]
    assert len({REQUEST_ID, *given}) == 3


def test_a_task_is_one_trace_over_the_four_deployments(receiver: Receiver, task: str) -> None:
    names = ("submit", "queue", "claim", "load", "encode_text", "denoise", "decode", "encode", "store")
    spans = receiver.wait_for(*names, trace_id=TRACE_ID)
    assert {spans[name].deployment for name in names} == set(DEPLOYMENTS)
    assert spans["submit"].parent_id == SPAN_ID
    assert spans["queue"].parent_id == spans["claim"].parent_id == spans["submit"].span_id
    assert {spans[name].parent_id for name in names[3:]} == {spans["claim"].span_id}
    ends = [spans[name].ended_at for name in names if name != "claim"]
    assert ends == sorted(ends)
    assert max(ends) <= spans["claim"].ended_at
    assert spans["claim"].attributes["task_id"] == task
    assert not any(span.failed for span in spans.values())


def test_rays_dashboard_does_nothing_for_whoever_has_no_token(server: Server) -> None:
    """docs/security.md relies on it: Ray's job API runs any command."""
    dashboard = re.search(r"dashboard at .*?(http://[\d.]+:\d+)", server.log())
    assert dashboard is not None, server.log()
    assert httpx.post(f"{dashboard[1]}/api/jobs/", json={"entrypoint": "true"}).status_code == 401
    assert httpx.get(f"{dashboard[1]}/api/serve/applications/").status_code == 401


def test_an_operator_pauses_a_server_that_runs_and_resumes_it(
    server: Server, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE_URL, server.environment[DATABASE_URL])
    config = ["--config", str(server.folder / "serve_config.yaml")]
    assert admin([*config, "pause"]).startswith("paused")
    waiting = server.submit()
    assert server.poll(waiting)["paused"] is True
    assert server.client.get("/health").json()["paused_at"] > 0
    assert admin([*config, "resume"]) == "resumed"
    assert server.wait(waiting)["status"] == "completed"


def test_clips_that_no_memory_holds_are_a_notice_and_no_reason_not_to_start(server: Server) -> None:
    notices = "\n".join(server.client.get("/health").json()["notices"])
    assert "object_store_memory" in notices
    assert "/dev/shm" in notices


def test_no_log_holds_a_prompt_a_key_or_a_password(server: Server, task: str) -> None:
    """Rejected, late and canceled tasks included."""
    refused = server.client.post("/v1/video/async_t2v", json={**QUICK, "prompt": SECRETS["prompt"], "height": 100})
    assert refused.status_code == 422
    late = server.submit(prompt=SECRETS["prompt"], timeout_s=1, num_inference_steps=100)
    canceled = server.submit(prompt=SECRETS["prompt"], negative_prompt=SECRETS["negative prompt"])
    server.client.delete(f"/v1/video/tasks/{canceled}")
    server.wait(late)
    files = [server.folder / "server.log", *server.ray_logs()]
    assert sum(path.name.startswith("replica_ltx2_") for path in files) >= len(DEPLOYMENTS)
    texts = {path.name: path.read_text(errors="replace") for path in files}
    leaks = {(name, what) for name, text in texts.items() for what, secret in SECRETS.items() if secret in text}
    assert leaks == set()


def _lines(server: Server, deployment: str, task_id: str) -> list[dict[str, Any]]:
    """The records of a deployment about a task."""
    files = [path for path in server.ray_logs() if _is_log_of(path, deployment)]
    assert files, f"no log of {deployment}"
    records = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return [record for record in records if record.get("task_id") == task_id]


def _is_log_of(path: Path, deployment: str) -> bool:
    return path.name.startswith(f"replica_ltx2_{deployment}_")
