"""Retention on real stores: old videos and old rows are removed, and nothing that is still needed."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from deployments.dispatcher.retention import WEBHOOK_TTL_S, Retention
from deployments.settings import RetentionSettings
from models.errors import StoreUnavailable
from models.request.request import VideoRequest
from storage.db.engine import open_engine
from storage.db.schema import tasks, webhook_deliveries
from storage.outputs.audit import ORPHAN_MIN_AGE_S
from storage.outputs.local import LocalOutputStore
from storage.outputs.store import DerivedFile, derived_key, input_key, output_key, poster_key, staging_key
from storage.sql.retention import SqlRetentionStore
from storage.task_store import SqlTaskStore
from storage.tasks import Failure, NewTask, Output, State, Task
from tests.sqlite import new_sqlite

DAY_S = 86_400.0
Rounds = Callable[..., Retention]


class StubbornStore(LocalOutputStore):
    """A folder in which one file cannot be deleted."""

    stubborn = ""

    def delete(self, key: str) -> None:
        if key == self.stubborn:
            raise StoreUnavailable("permission denied")
        super().delete(key)


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(new_sqlite(tmp_path / "tasks.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def rows(engine) -> SqlTaskStore:
    return SqlTaskStore(engine)


@pytest.fixture
def outputs(tmp_path) -> StubbornStore:
    return StubbornStore(tmp_path)


@pytest.fixture
def rounds(engine, outputs) -> Rounds:
    def with_settings(**settings: object) -> Retention:
        return Retention(RetentionSettings(**settings), SqlRetentionStore(engine), outputs)

    return with_settings


@pytest.fixture
def put(outputs, tmp_path: Path) -> Callable[..., str]:
    def put_it(key: str, age_s: float = 0.0) -> str:
        outputs.put(key, b"content")
        then = time.time() - age_s
        os.utime(tmp_path / key, (then, then))
        return key

    return put_it


def begin(rows: SqlTaskStore) -> Task:
    rows.submit(NewTask(VideoRequest(prompt="a lighthouse"), "m", "http://box"))
    (task,) = rows.claim("alice", "m", 1, 60)
    assert rows.start_run(task)
    return task


def completed(rows: SqlTaskStore, engine, put, age_s: float) -> Task:
    """A task that completed this number of seconds ago, with all files that it may have."""
    task = begin(rows)
    video, poster = put(output_key(task.id), age_s), put(poster_key(task.id), age_s)
    put(input_key(task.id), age_s)
    assert rows.complete(task, Output(video, poster, 4.84, 7))
    with engine.begin() as connection:
        aged = update(tasks).where(tasks.c.id == task.id).values(finished_at=time.time() - age_s)
        connection.execute(aged)
    return task


def files(outputs: LocalOutputStore) -> set[str]:
    return {each.key for folder in ("outputs/", "inputs/") for each in outputs.list(folder, "", 1000)}


def test_an_old_video_expires_and_a_young_one_stays(rows, engine, outputs, rounds, put):
    old, young = completed(rows, engine, put, 8 * DAY_S), completed(rows, engine, put, 6 * DAY_S)
    rounds().run_round()
    assert (rows.get(old.id).state, rows.get(young.id).state) == (State.EXPIRED, State.COMPLETED)
    assert files(outputs) == {output_key(young.id), poster_key(young.id)}


def test_files_that_were_made_from_a_video_stay_and_go_with_it(rows, engine, outputs, rounds, put):
    old, young = completed(rows, engine, put, 8 * DAY_S), completed(rows, engine, put, 6 * DAY_S)
    kept = {put(derived_key(young.id, kind), 6 * DAY_S) for kind in DerivedFile}
    for kind in DerivedFile:
        put(derived_key(old.id, kind), 7 * DAY_S)
    put(derived_key("0123456789abcdef" * 2, DerivedFile.AUDIO), ORPHAN_MIN_AGE_S + 60)
    rounds().run_round()
    assert files(outputs) == {output_key(young.id), poster_key(young.id), *kept}


def test_null_keeps_videos_and_rows(rows, engine, outputs, rounds, put):
    task = completed(rows, engine, put, 400 * DAY_S)
    rounds(output_ttl_s=None).run_round()
    assert rows.get(task.id).state == State.COMPLETED
    assert {output_key(task.id), poster_key(task.id)} <= files(outputs)
    rounds(task_ttl_s=None).run_round()
    assert rows.get(task.id).state == State.EXPIRED


def test_a_row_goes_with_its_files_and_stays_while_one_is_left(rows, engine, outputs, rounds, put):
    task = completed(rows, engine, put, 31 * DAY_S)
    outputs.stubborn = output_key(task.id)
    rounds().run_round()
    assert rows.get(task.id).state == State.EXPIRED
    assert files(outputs) == {output_key(task.id)}
    outputs.stubborn = ""
    rounds().run_round()
    assert rows.get(task.id) is None
    assert files(outputs) == set()


def test_a_file_that_could_not_be_removed_is_found_by_the_walk(rows, engine, outputs, rounds, put):
    task = completed(rows, engine, put, 8 * DAY_S)
    outputs.stubborn = poster_key(task.id)
    retention = rounds()
    retention.run_round()
    outputs.stubborn = ""
    for _ in range(3):
        retention.run_round()
    assert files(outputs) == set()


def test_files_of_nobody_go_after_a_day(outputs, rounds, put):
    nobody = "0123456789abcdef" * 2
    young = put(output_key(nobody), ORPHAN_MIN_AGE_S - 60)
    for key in (
        poster_key(nobody),
        input_key(nobody),
        staging_key(output_key(nobody), 2),
        f"{poster_key(nobody)}.x7_.part",
    ):
        put(key, ORPHAN_MIN_AGE_S + 60)
    rounds().run_round()
    assert files(outputs) == {young}


def test_a_name_that_the_server_does_not_give_is_left_alone(outputs, rounds, put):
    theirs = {put("outputs/holiday.mp4", 99 * DAY_S), put("inputs/readme", 99 * DAY_S)}
    rounds().run_round()
    assert files(outputs) == theirs


def test_tasks_keep_their_inputs_when_the_task_that_they_came_from_expires(rows, engine, outputs, rounds, put):
    """Also while they wait longer than their source is kept, and while they render."""
    source = completed(rows, engine, put, 8 * DAY_S)
    edits = [NewTask(VideoRequest(prompt="again"), "m", "http://box", source_task=source.id) for _ in range(2)]
    theirs = {put(input_key(edit.id), 8 * DAY_S) for edit in edits}
    for edit in edits:
        rows.submit(replace(edit, input_key=input_key(edit.id)))
    assert rows.start_run(rows.claim("alice", "m", 1, 60)[0])
    rounds().run_round()
    assert (rows.get(source.id).state, files(outputs)) == (State.EXPIRED, theirs)
    rounds(task_ttl_s=DAY_S).run_round()
    assert (rows.get(source.id), files(outputs)) == (None, theirs)
    assert {rows.get(edit.id).source_task for edit in edits} == {source.id}


def test_no_file_of_an_unfinished_task_goes(rows, outputs, rounds, put):
    task = begin(rows)
    keys = (output_key(task.id), poster_key(task.id), input_key(task.id), staging_key(output_key(task.id), 1))
    theirs = {put(key, 99 * DAY_S) for key in keys}
    rounds().run_round()
    assert files(outputs) == theirs


def test_of_a_failed_task_the_input_goes_and_of_a_canceled_one_everything(rows, outputs, rounds, put):
    failed, canceled = begin(rows), begin(rows)
    assert rows.fail(failed, Failure("broken", "render_failed", retryable=False))
    assert rows.cancel(canceled.id)
    for task in (failed, canceled):
        put(output_key(task.id), 2 * DAY_S)
        put(input_key(task.id), 2 * DAY_S)
    rounds().run_round()
    assert files(outputs) == {output_key(failed.id)}


def test_each_round_is_bounded_and_the_walk_comes_to_the_last_file(rows, engine, outputs, rounds, put):
    old = [completed(rows, engine, put, 8 * DAY_S) for _ in range(3)]
    orphans = {put(output_key(f"{number:032x}"), 2 * DAY_S) for number in range(5)}
    retention = rounds(batch_size=2)
    retention.run_round()
    assert [rows.get(task.id).state for task in old].count(State.EXPIRED) == 2
    assert len(files(outputs) & orphans) == 3
    for _ in range(6):
        retention.run_round()
    assert files(outputs) == set()


@pytest.mark.anyio
async def test_a_store_that_is_away_ends_the_round_and_not_the_loop(rounds, tmp_path, caplog):
    (tmp_path / "outputs").touch()
    retention = rounds()
    retention.start_if_due()
    await asyncio.wait_for(retention._under_way, 10)
    assert "old files and rows are deleted later" in caplog.text


def test_nothing_expires_while_the_store_is_away(rows, engine, rounds, put, tmp_path):
    task = completed(rows, engine, put, 8 * DAY_S)
    (tmp_path / "outputs").rename(tmp_path / "away")
    (tmp_path / "outputs").touch()
    with pytest.raises(StoreUnavailable):
        rounds().run_round()
    assert rows.get(task.id).state == State.COMPLETED


@pytest.mark.anyio
async def test_a_round_begins_once_a_minute(rounds):
    retention = rounds()
    retention.start_if_due()
    first = retention._under_way
    await first
    retention.start_if_due()
    assert retention._under_way is first


def test_a_webhook_is_forgotten_when_no_try_of_it_can_be_left_and_its_task_would_be(engine, rows, rounds):
    request = VideoRequest(prompt="x", webhook_url="https://hooks.example/")
    old, young = (rows.submit(NewTask(request, "m", "http://box")) for _ in range(2))
    assert rows.cancel(old.id)
    assert rows.cancel(young.id)
    with engine.begin() as connection:
        made_at = time.time() - DAY_S - WEBHOOK_TTL_S - 1
        connection.execute(
            update(webhook_deliveries).where(webhook_deliveries.c.task_id == old.id).values(created_at=made_at)
        )
    rounds(task_ttl_s=None).run_round()
    assert set(rows.webhooks_of([old.id, young.id])) == {old.id, young.id}
    rounds(task_ttl_s=DAY_S).run_round()
    assert set(rows.webhooks_of([old.id, young.id])) == {young.id}
