"""The operator's commands, on a real database that a server has open."""

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.cli.admin import main
from deployments.ingress.middleware.auth import ApiKeyStore
from deployments.settings import Settings
from models.request.request import VideoRequest
from storage.db.engine import open_engine
from storage.outputs.audit import ORPHAN_MIN_AGE_S
from storage.outputs.local import LocalOutputStore
from storage.outputs.store import output_key, poster_key, staging_key
from storage.task_store import SqlTaskStore
from storage.tasks import ANONYMOUS, Failure, NewTask, Output, State, Task
from tests.sqlite import new_sqlite

MODEL = "Lightricks/LTX-2"
Admin = Callable[..., str]


@pytest.fixture
def tasks(tmp_path: Path) -> SqlTaskStore:
    engine = open_engine(new_sqlite(tmp_path / "ltx2.db"))
    yield SqlTaskStore(engine)
    engine.dispose()


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    config = tmp_path / "serve_config.yaml"
    stores = f"database_url: 'sqlite:///{tmp_path / 'ltx2.db'}', outputs: {{url: 'file:{tmp_path / 'outputs'}'}}"
    config.write_text(f"applications: [{{args: {{{stores}}}}}]\n")
    return lambda *arguments: main(["--config", str(config), *map(str, arguments)])


def failed(tasks: SqlTaskStore, input_key: str | None = None) -> Task:
    tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x", input_key))
    (task,) = tasks.claim("alice", MODEL, 1, 60)
    assert tasks.start_run(task)
    assert tasks.fail(task, Failure("no room", "out_of_memory", retryable=False))
    return task


def test_a_whole_database_is_said_to_be_whole_with_what_waits(tasks, admin):
    tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x"))
    database, store = admin("check").splitlines()
    assert database == "the database is whole; 0 processing, 1 queued"
    assert store == "every completed task has its files, and no file is without a task"


def completed(tasks: SqlTaskStore, outputs: LocalOutputStore) -> Task:
    tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x"))
    (task,) = tasks.claim("alice", MODEL, 1, 60)
    assert tasks.start_run(task)
    for key in (output_key(task.id), poster_key(task.id)):
        outputs.put(key, b"content")
    assert tasks.complete(task, Output(output_key(task.id), poster_key(task.id), 4.84, 7))
    return task


def test_a_check_names_the_files_that_completed_tasks_have_lost(tasks, admin, tmp_path):
    outputs = LocalOutputStore(tmp_path / "outputs")
    whole, lost, without_poster = (completed(tasks, outputs) for _ in range(3))
    assert "every completed task has its files" in admin("check")
    outputs.delete(output_key(lost.id))
    outputs.delete(poster_key(without_poster.id))
    with pytest.raises(SystemExit, match="2 files of completed tasks are missing") as refused:
        admin("check")
    named = str(refused.value).splitlines()
    assert sorted(named[2:]) == sorted([output_key(lost.id), poster_key(without_poster.id)])
    assert not any(whole.id in line for line in named)


def test_a_check_names_old_files_that_no_task_needs_and_leaves_those_under_way(tasks, admin, tmp_path):
    outputs = LocalOutputStore(tmp_path / "outputs")
    task = completed(tasks, outputs)
    unneeded = [output_key("0" * 32), staging_key(output_key(task.id), 1), f"inputs/{task.id}"]
    young = [staging_key(output_key("1" * 32), 1), f"inputs/{'2' * 32}"]
    for key in (*unneeded, *young, "outputs/of-somebody-else.mp4"):
        outputs.put(key, b"content")
    long_ago = time.time() - ORPHAN_MIN_AGE_S - 60
    for key in (*unneeded, output_key(task.id), "outputs/of-somebody-else.mp4"):
        os.utime(tmp_path / "outputs" / key, (long_ago, long_ago))
    told = admin("check").splitlines()
    assert "3 files that no task needs" in told[1]
    assert sorted(told[2:]) == sorted(unneeded)


def test_a_damaged_database_is_said_to_be_damaged(tasks, admin, tmp_path):
    for _ in range(50):
        tasks.submit(NewTask(VideoRequest(prompt="waves " * 200), MODEL, "http://x"))
    tasks.close()
    file = tmp_path / "ltx2.db"
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = b"\xff" * 8192
    file.write_bytes(data)
    with pytest.raises(SystemExit, match=r"damaged|malformed|corrupt"):
        admin("check")


def test_a_backup_beside_an_open_server_holds_every_task(tasks, admin, tmp_path):
    task = failed(tasks)
    with pytest.raises(SystemExit, match="there already"):
        admin("backup", tmp_path / "ltx2.db")
    assert "bytes" in admin("backup", tmp_path / "copy.db")
    tasks.submit(NewTask(VideoRequest(prompt="later"), MODEL, "http://x"))
    copy = SqlTaskStore.open(f"sqlite:///{tmp_path / 'copy.db'}")
    assert copy.get(task.id).state == State.FAILED
    assert copy.counts()[State.QUEUED] == 0
    copy.close()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("arguments", [("check",), ("backup", "copy.db"), ("requeue", "none"), ("pause",)])
def test_where_there_is_no_database_none_is_made(admin, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="there is no database"):
        admin(*arguments)
    assert not (tmp_path / "ltx2.db").exists()
    assert not (tmp_path / "copy.db").exists()


def test_a_failed_task_is_queued_again_as_new(tasks, admin):
    task = failed(tasks)
    assert "queued again" in admin("requeue", task.id)
    again = tasks.get(task.id)
    assert (again.state, again.attempts, again.failure, again.finished_at) == (State.QUEUED, 0, None, None)
    (claimed,) = tasks.claim("bob", MODEL, 1, 60)
    assert claimed.id == task.id
    assert not tasks.start_run(task), "the claim of the failed try is void"
    assert tasks.start_run(claimed)


def test_a_drain_begins_nothing_waits_for_what_runs_and_lets_tasks_begin_again(tasks, admin):
    tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x"))
    (task,) = tasks.claim("alice", MODEL, 1, 60)
    assert tasks.start_run(task)
    seen: list[bool] = []

    def end_it_once_paused() -> None:
        while tasks.paused_at() is None:
            time.sleep(0.01)
        seen.append(True)
        tasks.fail(task, Failure("no room", "out_of_memory", retryable=False))

    other = threading.Thread(target=end_it_once_paused)
    other.start()
    assert admin("drain", 60) == "no task runs"
    other.join()
    assert seen == [True]
    assert tasks.paused_at() is None


def test_a_drain_gives_up_after_its_seconds_and_leaves_the_pause_of_an_operator(tasks, admin):
    tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x"))
    (task,) = tasks.claim("alice", MODEL, 1, 60)
    assert tasks.start_run(task)
    admin("pause")
    assert admin("drain", 0) == "1 tasks still run"
    assert tasks.paused_at() is not None


def test_a_pause_is_said_to_be_one_and_ends_with_resume(tasks, admin):
    tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x"))
    assert "it was not paused" in admin("resume")
    assert admin("pause").startswith("paused; 0 running tasks")
    assert "paused already" in admin("pause")
    assert tasks.claim("alice", MODEL, 1, 60) == []
    assert admin("check").splitlines()[0].endswith("; claims are paused")
    assert admin("resume") == "resumed"
    assert len(tasks.claim("alice", MODEL, 1, 60)) == 1


def test_a_task_whose_image_is_gone_is_refused_with_the_reason(tasks, admin):
    task = failed(tasks, "inputs/image")
    with pytest.raises(SystemExit, match="input image was deleted"):
        admin("requeue", task.id)
    assert tasks.get(task.id).state == State.FAILED
    assert not tasks.retry(task.id)


def test_only_a_failed_task_is_queued_again(tasks, admin):
    task = tasks.submit(NewTask(VideoRequest(prompt="waves"), MODEL, "http://x"))
    with pytest.raises(SystemExit, match="it is queued"):
        admin("requeue", task.id)
    with pytest.raises(SystemExit, match="there is no task"):
        admin("requeue", "none")


def test_postgresql_is_left_to_its_own_tool(admin, tmp_path, monkeypatch):
    monkeypatch.setenv("LTX2_DATABASE_URL", "postgresql+psycopg://db/ltx2")
    with pytest.raises(SystemExit, match="pg_dump"):
        admin("backup", tmp_path / "copy.db")


def test_a_new_key_opens_the_server_whose_settings_have_its_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # neither a database nor a config is needed
    told = main(["new-key", "alice"])
    (key,) = re.findall(r"^  (ltx2_\S{43})$", told, re.MULTILINE)
    (record,) = re.findall(r"^  (\{.*\})$", told, re.MULTILINE)
    monkeypatch.setenv("LTX2_API_KEYS", f"[{record}]")
    ring = ApiKeyStore(Settings().api_keys)
    assert (ring.find_owner(key), ring.find_owner(key[:-1])) == ("alice", None)
    assert key not in record
    assert main(["new-key", "alice"]) != told


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65])
def test_a_name_that_no_record_can_hold_is_refused(name):
    with pytest.raises(SystemExit, match="1 to 64"):
        main(["new-key", "--", name])


def test_usage_is_told_for_each_key_and_month(tasks, admin):
    assert admin("usage") == "nothing has been rendered yet"
    tasks.add_usage("alice", 90.25)
    tasks.add_usage("alice", 10.0)
    tasks.add_usage(ANONYMOUS, 1.0)
    nobody, alice = admin("usage").splitlines()
    assert nobody.startswith("- ")
    assert alice.split()[:1] + alice.split()[2:] == ["alice", "2", "runs", "100.2", "GPU", "seconds"]


def test_the_webhook_secret_of_a_key_is_told_and_of_no_other_name(admin, monkeypatch):
    monkeypatch.setenv("LTX2_API_KEYS", '[{"name": "alice", "sha256": "%s"}]' % ("0" * 64))
    with pytest.raises(SystemExit, match="LTX2_WEBHOOKS__SECRET"):
        admin("webhook-secret", "alice")
    monkeypatch.setenv("LTX2_WEBHOOKS__SECRET", "whsec_bGlnaHRob3VzZXMgc2hpbmUgYXQgbmlnaHQ=")
    assert admin("webhook-secret", "alice") == Settings().webhooks.secrets_of("alice")[0]
    with pytest.raises(SystemExit, match="it has alice"):
        admin("webhook-secret", "alcie")
