"""Makes the same moves of the task state machine in a store and in a model of it.

Two dispatchers with separate connections work on one database. Workers keep their claims long after they lost them.
Leases lapse. Both clocks jump, forwards and back, by more than the test's own duration.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import Table, delete, select, update

from models.errors import IdempotencyKeyReused, QueueFull
from models.progress import Progress, Stage
from models.request.request import VideoRequest
from storage.db.schema import idempotency_keys, pauses, tasks, webhook_deliveries
from storage.sql.retention import SqlRetentionStore
from storage.sql.submit import IDEMPOTENCY_TTL_S
from storage.task_store import SqlTaskStore
from storage.tasks import UNFINISHED, Failure, Idempotency, NewTask, Output, State, Task
from tests.storage.task_model import ModelRow, TaskModel

MODELS = ("Lightricks/LTX-2", "another")
DISPATCHERS = ("alice", "bob")
LEASE_S = 60.0
TIMEOUT_S = 150.0
ORPHANED_AFTER_S = EXPIRES_AFTER_S = 250.0
JUMPS_S = (100.0, 1000.0, -100.0, 100_000.0)
"""With these jumps and so few steps, every decisive moment is at least 40 s away from the clock."""
TOLERANCE_S = 30.0
MAX_QUEUED = 6
LOOKED_AT = 1000
WEBHOOKS = {"ann": "https://hooks.example/", "ben": None}
"""Only one of the owners has a webhook."""
REQUEST = VideoRequest(prompt="x", timeout_s=TIMEOUT_S)
FAILURE = Failure("the sound was all zeros", "render_failed", retryable=False)

models = st.sampled_from((MODELS[0], *MODELS))
dispatcher_names = st.sampled_from(DISPATCHERS)
readings = st.sampled_from((1, 1, 1, 2, 3))
"""Which reading of its row a worker holds, counted from the last one. That one may still have the row's claim."""
reports = st.builds(Progress, st.sampled_from(Stage), st.integers(0, 40), st.integers(0, 9), st.integers(0, 9))


class TaskMachine(RuleBasedStateMachine):
    """Each rule makes one move in the store and in the model. Both must give the same result."""

    stores: ClassVar[dict[str, SqlTaskStore]]
    """One store per dispatcher; clients use the first."""

    ids = Bundle("ids")

    @initialize(target=ids)
    def begin(self) -> Any:
        self.store = self.stores["alice"]
        self.retention = SqlRetentionStore(self.store._engine)
        self.model = TaskModel()
        self.read: dict[str, list[Task]] = defaultdict(list)
        with self.store._engine.begin() as connection:
            for table in (tasks, idempotency_keys, pauses, webhook_deliveries):
                connection.execute(delete(table))
        return multiple(*(self._submit(NewTask(REQUEST, model, "http://box")) for model in (*MODELS, MODELS[0])))

    def _noted(self, *found: Task) -> set[str]:
        for task in found:
            self.read[task.id].append(task)
        return {task.id for task in found}

    def _held(self, task_id: str, reading: int) -> Task:
        return self.read[task_id][-min(reading, len(self.read[task_id]))]

    # -- clients

    @rule(
        target=ids,
        model=models,
        key=st.none() | st.builds(Idempotency, st.sampled_from("kl"), st.sampled_from("dde")),
        timeout_s=st.sampled_from((TIMEOUT_S, TIMEOUT_S, None)),
        image=st.sampled_from((None, None, "inputs/x")),
        owner=st.sampled_from(("ann", "ann", "ben")),
    )
    def submit(
        self, model: str, key: Idempotency | None, timeout_s: float | None, image: str | None, owner: str
    ) -> Any:
        request = REQUEST.model_copy(update={"timeout_s": timeout_s, "webhook_url": WEBHOOKS[owner]})
        return self._submit(NewTask(request, model, "http://box", image, idempotency=key, owner=owner)) or multiple()

    def _submit(self, new: NewTask) -> str | None:
        wanted, refused = _try(lambda: self.model.submit(new, MAX_QUEUED))
        made, said = _try(lambda: self.store.submit(new, MAX_QUEUED))
        assert said == refused
        if made is None:
            return None
        self._noted(made)
        assert made.id == wanted
        return made.id

    @rule(task_id=ids)
    def cancel(self, task_id: str) -> None:
        assert self.store.cancel(task_id) == self.model.cancel(task_id)

    @rule(task_id=ids)
    def delete(self, task_id: str) -> None:
        assert self.store.delete(task_id) == self.model.delete(task_id)

    @rule(task_id=ids)
    def retry(self, task_id: str) -> None:
        assert self.store.retry(task_id) == self.model.retry(task_id)

    @rule()
    def look(self) -> None:
        states = [row.state for row in self.model.rows.values()]
        assert self.store.counts() == {state: states.count(state) for state in UNFINISHED}
        found = self.store.page(list(State), LOOKED_AT, oldest_first=True)
        assert [task.id for task in found] == list(self.model.rows)

    # -- the operator

    @rule(paused=st.sampled_from((False, False, True)))
    def pause_or_resume(self, paused: bool) -> None:
        if paused:
            assert self.store.pause() == self.model.pause()
        else:
            assert self.store.resume() == self.model.resume()

    # -- dispatchers

    @rule(name=dispatcher_names, model=models, limit=st.integers(1, 3))
    def claim(self, name: str, model: str, limit: int) -> None:
        self._claim(name, model, limit)

    def _claim(self, name: str, model: str, limit: int) -> list[str]:
        claimed = self.stores[name].claim(name, model, limit, LEASE_S)
        self._noted(*claimed)
        ids = [task.id for task in claimed]
        claimable = self.model.claimable(model)
        assert len(set(ids)) == len(ids) == min(limit, sum(map(len, claimable.values())))
        for oldest in claimable.values():
            taken = [task_id for task_id in ids if task_id in oldest]
            assert taken == oldest[: len(taken)]
        assert set(ids) <= {task_id for oldest in claimable.values() for task_id in oldest}
        self.model.claim(name, ids, LEASE_S)
        return ids

    @rule(name=dispatcher_names)
    def renew(self, name: str) -> None:
        self.stores[name].renew_leases(name, LEASE_S)
        self.model.renew(name, LEASE_S)

    @rule(name=dispatcher_names, dead=st.sets(dispatcher_names))
    def reclaim(self, name: str, dead: set[str]) -> None:
        assert self._noted(*self.stores[name].reclaim(dead)) == self.model.reclaim(dead)

    @rule(name=dispatcher_names, task_id=ids, reading=readings, attempt_lost=st.booleans())
    def requeue(self, name: str, task_id: str, reading: int, attempt_lost: bool) -> None:
        task = self._held(task_id, reading)
        won = self.stores[name].requeue(task, attempt_lost=attempt_lost)
        assert won == self.model.requeue(task, attempt_lost=attempt_lost)

    @rule(name=dispatcher_names, task_id=ids, reading=readings)
    def fail(self, name: str, task_id: str, reading: int) -> None:
        task = self._held(task_id, reading)
        assert self.stores[name].fail(task, FAILURE) == self.model.fail(task, FAILURE.code)

    @rule(name=dispatcher_names, model=models)
    def fail_what_is_late(self, name: str, model: str) -> None:
        store = self.stores[name]
        assert self._noted(*store.fail_overdue()) == self.model.fail_overdue()
        unserved = store.fail_unserved(model, ORPHANED_AFTER_S)
        assert self._noted(*unserved) == self.model.fail_unserved(model, ORPHANED_AFTER_S)

    # -- workers

    @rule(
        name=dispatcher_names,
        model=models,
        reported=st.lists(reports, max_size=2),
        end=st.sampled_from((None, "complete", "fail")),
    )
    def work(self, name: str, model: str, reported: list[Progress], end: str | None) -> None:
        """The usual course of a task. Without this rule, few random walks would complete one."""
        for task_id in self._claim(name, model, 1):
            self.start(task_id, 1)
            for progress in reported:
                self.report(task_id, 1, progress)
            if end == "complete":
                self.complete(task_id, 1)
            if end == "fail":
                self.fail(name, task_id, 1)

    @rule(task_id=ids, reading=readings)
    def start(self, task_id: str, reading: int) -> None:
        task = self._held(task_id, reading)
        assert self.store.start_run(task) == self.model.start(task)

    @rule(task_id=ids, reading=readings, progress=reports)
    def report(self, task_id: str, reading: int, progress: Progress) -> None:
        task = self._held(task_id, reading)
        assert self.store.report_progress(task, progress) == self.model.report(task, progress)

    @rule(task_id=ids, reading=readings)
    def ask(self, task_id: str, reading: int) -> None:
        task = self._held(task_id, reading)
        assert self.store.owns_task(task) == self.model.owns(task)

    @rule(task_id=ids, reading=readings)
    def complete(self, task_id: str, reading: int) -> None:
        task = self._held(task_id, reading)
        output = Output(f"outputs/{task.id}.mp4", f"outputs/{task.id}.jpg", 4.84, 7)
        assert self.store.complete(task, output) == self.model.complete(task)

    # -- time

    @rule(seconds=st.sampled_from(JUMPS_S), of_leases=st.booleans())
    def jump(self, seconds: float, of_leases: bool) -> None:
        """Make a clock jump: with `of_leases` the clock of leases (the host's monotonic clock, or the database's), else
        the wall clock. It stands for a suspended machine, a reboot or a changed clock.
        """
        if of_leases:
            self.model.lease_clock += seconds
            self._shift(tasks, seconds, "lease_until")
            return
        self.model.wall_clock += seconds
        self._shift(tasks, seconds, "created_at", "started_at", "finished_at", "deadline_at")
        self._shift(idempotency_keys, seconds, "created_at")

    def _shift(self, table: Table, seconds: float, *columns: str) -> None:
        """Simulate a clock that jumps: make all times recorded by it older by the same amount."""
        with self.store._engine.begin() as connection:
            connection.execute(update(table).values({name: table.c[name] - seconds for name in columns}))

    @rule(removing=st.booleans())
    def forget_what_is_old(self, removing: bool) -> None:
        if not removing:
            expired = self.retention.expire(time.time() - EXPIRES_AFTER_S, LOOKED_AT)
            assert set(expired) == self.model.expire(EXPIRES_AFTER_S)
            return
        ended_before = time.time() - IDEMPOTENCY_TTL_S
        old = self.retention.old(ended_before, LOOKED_AT)
        self.retention.remove(old, ended_before)
        assert set(old) == self.model.remove(IDEMPOTENCY_TTL_S)

    # -- what holds after every move

    @invariant()
    def every_row_is_as_the_model_has_it(self) -> None:
        found = {task.id: task for task in self.store.get_many(list(self.read))}
        assert {task_id: _seen(task) for task_id, task in found.items()} == {
            task_id: _expected(row) for task_id, row in self.model.rows.items()
        }
        for task_id, task in found.items():
            for name in ("created_at", "started_at", "finished_at"):
                self._check_age(getattr(task, name), getattr(self.model.rows[task_id], name))

    def _check_age(self, noted: float | None, wanted: float | None) -> None:
        assert (noted is None) == (wanted is None)
        if noted is not None:
            assert abs(time.time() - noted - (self.model.wall_clock - wanted)) < TOLERANCE_S

    @invariant()
    def every_end_has_left_its_message(self) -> None:
        told = {task_id: row for task_id, row in self.model.rows.items() if row.new.request.webhook_url}
        found: dict[str, list[State]] = {task_id: [] for task_id in told}
        with self.store._engine.begin() as connection:
            written = select(webhook_deliveries.c.task_id, webhook_deliveries.c.task).order_by(
                webhook_deliveries.c.sequence
            )
            for row in connection.execute(written.where(webhook_deliveries.c.task_id.in_(self.model.rows))):
                found[row.task_id].append(State(json.loads(row.task)["state"]))
        assert found == {task_id: row.ends for task_id, row in told.items()}

    @invariant()
    def dispatchers_that_hold_something_are_named(self) -> None:
        assert set(self.store.list_dispatchers()) == self.model.claimants()


def _try(submit: Callable[[], Any]) -> tuple[Any, type[Exception] | None]:
    """The result of a submit: a task, or the class of the error."""
    try:
        return submit(), None
    except (IdempotencyKeyReused, QueueFull) as refusal:
        return None, type(refusal)


def _seen(task: Task) -> tuple[object, ...]:
    code = task.failure and task.failure.code
    counted = (task.claim_token, task.attempts, task.requeues)
    return task.state, *counted, task.stage, task.progress, code, task.output is not None


def _expected(row: ModelRow) -> tuple[object, ...]:
    counted = (row.claim, row.attempts, row.restarts)
    return row.state, *counted, row.stage, row.progress, row.error_code, row.has_output
