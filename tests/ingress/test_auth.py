"""With api_keys, no request is accepted without a key, and no key shows the tasks of another."""

import re

import pytest
from openai import AuthenticationError, OpenAI

from deployments.ingress.middleware.auth import PUBLIC_PATHS, ApiKeyStore, is_public
from deployments.settings import Settings
from models.request.request import VideoRequest
from storage.tasks import ANONYMOUS, NewTask, State
from tests.ingress.conftest import MODEL, PROMPT, Box, image_file
from tests.ingress.keys import ALICE, BOB, KEYS, bearer, record, speaking_as


@pytest.fixture
def box(open_box) -> Box:
    return open_box(api_keys=KEYS)


def routes(box: Box) -> list[tuple[str, str]]:
    """Every route of the server, with a value for each path parameter."""
    paths = box.client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), re.sub(r"\{\w+\}", "0" * 32, path)) for path, methods in paths.items() for method in methods
    ]


def test_every_route_but_the_open_ones_wants_a_key(box):
    closed = [
        (method, path) for method, path in routes(box) if path not in PUBLIC_PATHS and not path.startswith("/outputs/")
    ]
    assert len(closed) >= 15
    for method, path in [*closed, ("GET", "/no/such/route"), ("PUT", "/v1/video/tasks")]:
        answer = box.client.request(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_document_asks_for_a_key_where_the_server_does(box):
    described = box.client.get("/openapi.json").json()["paths"]
    for path, methods in described.items():
        closed = not is_public(path)
        for method, operation in methods.items():
            told = ("security" in operation, {"401", "429"} <= operation["responses"].keys())
            assert told == (closed, closed), (method, path)


@pytest.mark.parametrize("path", [*sorted(PUBLIC_PATHS), "/page/main.js", "/docs/start.js"])
def test_what_a_client_needs_before_it_has_a_key_is_open(box, path):
    assert box.client.get(path).status_code == 200


def test_the_refusal_has_the_one_error_body(box):
    body = box.client.get("/v1/video/tasks").json()
    assert body["error_code"] == "unauthorized"
    assert "Authorization: Bearer" in body["error"]
    assert body["retryable"] is False


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", f"Bearer {ALICE}x", f"Bearer {ALICE[:-1]}", "Bearer", "Bearer  ", f"Basic {ALICE}", ALICE, "é"],
)
def test_a_wrong_key_is_refused(box, header):
    answer = box.client.get("/v1/video/tasks", headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_the_hash_is_not_a_key(box):
    assert box.client.get("/v1/video/tasks", headers=bearer(KEYS[0]["sha256"])).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_right_key_lets_in(box, scheme):
    assert box.client.get("/v1/video/tasks", headers={"Authorization": f"{scheme} {ALICE}"}).status_code == 200


@pytest.mark.filterwarnings("ignore:The Sora API")
def test_openais_package_is_refused_in_its_own_words(served_box):
    base_url = f"{served_box(api_keys=KEYS).client.base_url}/v1"
    with OpenAI(base_url=base_url, api_key=ALICE) as alice:
        assert alice.videos.create(prompt=PROMPT).status == "queued"
    with OpenAI(base_url=base_url, api_key="none") as stranger, pytest.raises(AuthenticationError) as refused:
        stranger.videos.list()
    assert refused.value.code == "unauthorized"


def test_a_task_belongs_to_the_key_that_it_came_with(box):
    with speaking_as(box, ALICE):
        task_id = box.submit()
        box.client.post("/v1/video/async_i2v", data={"prompt": PROMPT}, files={"image": ("a.png", image_file())})
        box.client.post("/v1/videos", json={"prompt": PROMPT})
    assert [task.owner for task in box.tasks.page(State, 10)] == ["alice"] * 3
    assert box.row(task_id).owner == "alice"


def test_another_ones_task_is_as_good_as_none(box):
    with speaking_as(box, ALICE):
        task_id = box.finished()
    asked = [
        ("GET", f"/v1/video/tasks/{task_id}"),
        ("GET", f"/v1/video/tasks/{task_id}/events"),
        ("DELETE", f"/v1/video/tasks/{task_id}"),
        ("GET", f"/v1/videos/video_{task_id}"),
        ("GET", f"/v1/videos/video_{task_id}/content"),
        ("DELETE", f"/v1/videos/video_{task_id}"),
        ("GET", f"/outputs/ltx2_{task_id}.mp4"),
        ("HEAD", f"/outputs/ltx2_{task_id}.mp4"),
    ]
    with speaking_as(box, BOB):
        for method, path in asked:
            theirs = box.client.request(method, path)
            nobodys = box.client.request(method, path.replace(task_id, "0" * 32))
            assert (theirs.status_code, nobodys.status_code) == (404, 404), path
            assert theirs.text == nobodys.text.replace("0" * 32, task_id)
        assert box.client.get("/v1/video/tasks").json()["tasks"] == []
        assert box.client.get("/v1/videos").json()["data"] == []
        assert box.client.get("/v1/videos", params={"after": f"video_{task_id}"}).status_code == 422
    assert box.row(task_id).state == State.COMPLETED


def test_the_owner_does_all_of_it(box):
    with speaking_as(box, ALICE):
        task_id = box.finished()
        assert box.poll(task_id)["status"] == "completed"
        assert [each["task_id"] for each in box.client.get("/v1/video/tasks").json()["tasks"]] == [task_id]
        assert "event: completed" in box.client.get(f"/v1/video/tasks/{task_id}/events").text
        assert box.client.get(f"/v1/videos/video_{task_id}/content").status_code == 200
        assert box.client.delete(f"/v1/video/tasks/{task_id}").json()["outcome"] == "deleted"


def test_pages_hold_the_own_tasks_whatever_stands_between(box):
    mine = []
    for _ in range(5):
        with speaking_as(box, BOB):
            box.submit()
        with speaking_as(box, ALICE):
            mine.append(box.submit())
    with speaking_as(box, ALICE):
        first = box.client.get("/v1/video/tasks", params={"limit": 3}).json()
        rest = box.client.get("/v1/video/tasks", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [each["task_id"] for each in first["tasks"] + rest["tasks"]] == mine[::-1]
    assert rest["next_cursor"] is None


def test_a_cursor_tells_nothing_of_the_tasks_of_others(box):
    """A number over all tasks would reveal it: between two of one's own, it counts those of others."""
    with speaking_as(box, BOB):
        theirs = [box.submit() for _ in range(3)]
    with speaking_as(box, ALICE):
        mine = [box.submit() for _ in range(3)]
        first = box.client.get("/v1/video/tasks", params={"limit": 1}).json()
        assert first["next_cursor"] == mine[-1], "an id of the own, drawn at random"
        for unknown in (theirs[0], "0" * 32, "4", str(2**40)):
            answer = box.client.get("/v1/video/tasks", params={"cursor": unknown})
            assert (answer.status_code, answer.json()["field"]) == (422, "cursor"), unknown


def test_one_idempotency_key_of_two_owners_is_two_tasks(box):
    header = {"Idempotency-Key": "the same"}
    made = set()
    for key in (ALICE, BOB, ALICE, BOB):
        answer = box.client.post("/v1/video/async_t2v", json={"prompt": key}, headers=header | bearer(key))
        assert answer.status_code == 200, answer.text
        made.add(answer.json()["task_id"])
    assert len(made) == 2


def test_two_keys_of_one_name_are_one_owner(open_box):
    box = open_box(api_keys=[record("alice", ALICE), record("alice", "ltx2_newer")])
    with speaking_as(box, ALICE):
        task_id = box.submit()
    with speaking_as(box, "ltx2_newer"):
        assert box.poll(task_id)["state"] == "queued"


def test_without_keys_everybody_sees_everything(open_box):
    box = open_box()
    task_id = box.submit()
    assert box.row(task_id).owner == ANONYMOUS
    assert box.poll(task_id, headers=bearer("anything"))["state"] == "queued"


def test_tasks_from_before_the_keys_belong_to_none_of_them(box):
    task = box.tasks.submit(NewTask(VideoRequest(prompt=PROMPT), MODEL, "http://box"))
    assert task.owner == ANONYMOUS
    with speaking_as(box, ALICE):
        assert box.client.get(f"/v1/video/tasks/{task.id}").status_code == 404
        assert box.client.get("/v1/video/tasks").json()["tasks"] == []


def test_the_docs_say_where_a_key_goes_only_where_there_are_keys(box, open_box):
    closed, opened = (each.client.get("/openapi.json").json() for each in (box, open_box()))
    assert closed["paths"]["/v1/video/tasks"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "401" in closed["paths"]["/v1/videos"]["post"]["responses"]
    files = [each["paths"]["/outputs/{filename}"]["get"]["responses"] for each in (closed, opened)]
    assert ["403" in each for each in files] == [True, False]
    assert "security" not in closed["paths"]["/health"]["get"]
    assert "securitySchemes" not in opened["components"]


def test_every_record_is_compared_to_its_end():
    """A key is found at any position: the search always compares all records."""
    keys = Settings(api_keys=[record(f"owner-{number}", f"key-{number}") for number in range(5)]).api_keys
    ring = ApiKeyStore(keys)
    assert [ring.find_owner(f"key-{number}") for number in range(6)] == [*(f"owner-{n}" for n in range(5)), None]


def test_a_key_reads_what_it_has_used_and_no_more(box, open_box):
    box.tasks.add_usage("alice", 1.5)
    box.tasks.add_usage("alice", 2.0)
    box.tasks.add_usage("bob", 100.0)
    mine = box.client.get("/v1/video/usage", headers=bearer(ALICE)).json()
    assert (mine["owner"], mine["runs"], mine["gpu_s"]) == ("alice", 2, 3.5)
    assert [(day["runs"], day["gpu_s"]) for day in mine["days"]] == [(2, 3.5)]
    opened = open_box()
    opened.tasks.add_usage(ANONYMOUS, 4.0)
    assert opened.client.get("/v1/video/usage").json()["gpu_s"] == 4.0
    assert opened.client.get("/v1/video/usage").json()["owner"] is None


def test_a_keys_queue_has_a_bound_of_its_own(open_box):
    box = open_box(api_keys=[record("alice", ALICE, max_queued=1), record("bob", BOB)])
    with speaking_as(box, ALICE):
        box.submit()
        refused = box.client.post("/v1/video/async_t2v", json={"prompt": PROMPT})
    assert (refused.status_code, refused.json()["error_code"]) == (429, "queue_full")
    assert "alice" in refused.json()["error"]
    assert int(refused.headers["retry-after"]) >= 1
    with speaking_as(box, BOB):
        box.submit()


def test_the_list_tells_the_places_that_turns_give(box):
    with speaking_as(box, ALICE):
        theirs = [box.submit() for _ in range(3)]
    with speaking_as(box, BOB):
        mine = box.submit()
        assert box.poll(mine)["queue_position"] == 2
    with speaking_as(box, ALICE):
        listed = box.client.get("/v1/video/tasks").json()["tasks"]
    assert {each["task_id"]: each["queue_position"] for each in listed} == dict(zip(theirs, (1, 3, 4), strict=True))
