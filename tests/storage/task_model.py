"""A model of the task store in plain Python: rows in a dict, and two clocks that only a test moves.

It is written from the documented promises, not from the SQL:
- A stage's write succeeds while its claim is the row's and the row has not ended.
- The claim increases whenever a task changes hands.
- Only a held task can lapse.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from models.errors import IdempotencyKeyReused, QueueFull
from models.progress import Progress, Stage
from storage.sql.submit import IDEMPOTENCY_TTL_S
from storage.tasks import NewTask, State, Task

UNFINISHED = (State.QUEUED, State.PROCESSING)
MAY_GO = (State.FAILED, State.CANCELED, State.EXPIRED, State.DELETED)
"""The states in which retention may remove a row."""


@dataclass
class ModelRow:
    """A task. Times are in seconds of the model's wall clock; `lease_until` of its lease clock."""

    new: NewTask
    created_at: float
    deadline_at: float | None
    state: State = State.QUEUED
    claim: int = 0
    attempts: int = 0
    restarts: int = 0
    dispatcher: str | None = None
    lease_until: float = 0.0
    stage: Stage | None = None
    progress: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    error_code: str | None = None
    has_output: bool = False
    ends: list[State] = field(default_factory=list)
    """All its final states, if it was requeued between them: each sends a webhook."""

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    def end(self, state: State, now: float, error_code: str | None = None) -> None:
        self.state, self.finished_at, self.error_code = state, now, error_code
        self.ends.append(state)
        self.stage = self.dispatcher = None

    def go_back(self, now: float) -> None:
        if self.stage == Stage.DOWNLOADING and self.deadline_at is not None:
            assert self.started_at is not None
            self.deadline_at += now - self.started_at
        self.state, self.claim = State.QUEUED, self.claim + 1
        self.stage = self.dispatcher = self.started_at = None
        self.progress = 0.0


@dataclass
class TaskModel:
    """All rows, in the order of submission."""

    rows: dict[str, ModelRow] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, str, float]] = field(default_factory=dict)
    """For an owner's idempotency key: the digest, the task and the time of the first submit."""
    paused: bool = False
    lease_clock: float = 0.0
    wall_clock: float = 0.0

    # -- the client's side

    def submit(self, new: NewTask, max_queued: int) -> str:
        if new.idempotency and (known := self._known(new.owner, new.idempotency.key)):
            digest, task_id = known
            if digest != new.idempotency.digest:
                raise IdempotencyKeyReused("")
            return task_id
        if sum(row.state == State.QUEUED and row.new.model == new.model for row in self.rows.values()) >= max_queued:
            raise QueueFull("")
        timeout_s = new.request.timeout_s
        deadline_at = None if timeout_s is None else self.wall_clock + timeout_s
        self.rows[new.id] = ModelRow(new, self.wall_clock, deadline_at)
        if new.idempotency:
            self.keys[new.owner, new.idempotency.key] = (new.idempotency.digest, new.id, self.wall_clock)
        return new.id

    def _known(self, owner: str, key: str) -> tuple[str, str] | None:
        if (owner, key) not in self.keys:
            return None
        digest, task_id, created_at = self.keys[owner, key]
        return (digest, task_id) if self.wall_clock - created_at <= IDEMPOTENCY_TTL_S else None

    def cancel(self, task_id: str) -> bool:
        row = self.rows.get(task_id)
        if row is None or not row.unfinished:
            return False
        row.end(State.CANCELED, self.wall_clock)
        return True

    def delete(self, task_id: str) -> bool:
        row = self.rows.get(task_id)
        if row is None or row.unfinished or row.state == State.DELETED:
            return False
        row.state = State.DELETED
        return True

    def retry(self, task_id: str) -> bool:
        row = self.rows.get(task_id)
        if row is None or row.state != State.FAILED or row.new.input_key is not None:
            return False
        row.go_back(self.wall_clock)
        row.attempts = row.restarts = 0
        row.finished_at = row.deadline_at = row.error_code = None
        return True

    # -- the operator's hand

    def pause(self) -> bool:
        if self.paused:
            return False
        self.paused = True
        for row in self.rows.values():
            if row.state == State.QUEUED and row.dispatcher is not None:
                row.go_back(self.wall_clock)
        return True

    def resume(self) -> bool:
        was_paused, self.paused = self.paused, False
        return was_paused

    # -- the dispatchers' side

    def claimable(self, model: str) -> dict[str, list[str]]:
        """The claimable tasks of each owner, the oldest first. test_fair_share tests the order between owners."""
        found: dict[str, list[str]] = {}
        for task_id, row in self.rows.items():
            free = row.state == State.QUEUED and row.dispatcher is None and row.new.model == model
            if free and not self.paused:
                found.setdefault(row.new.owner, []).append(task_id)
        return found

    def claim(self, dispatcher: str, taken: Collection[str], lease_s: float) -> None:
        for row in map(self.rows.__getitem__, taken):
            row.dispatcher, row.claim, row.lease_until = dispatcher, row.claim + 1, self.lease_clock + lease_s

    def renew(self, dispatcher: str, lease_s: float) -> None:
        for row in self.rows.values():
            if row.dispatcher == dispatcher:
                row.lease_until = self.lease_clock + lease_s

    def claimants(self) -> set[str]:
        return {row.dispatcher for row in self.rows.values() if row.dispatcher is not None}

    def reclaim(self, dead: Collection[str]) -> set[str]:
        held = [(task_id, row) for task_id, row in self.rows.items() if row.dispatcher is not None]
        lost = [(task_id, row) for task_id, row in held if row.dispatcher in dead or row.lease_until < self.lease_clock]
        for _, row in lost:
            row.go_back(self.wall_clock)
            row.restarts += 1
        return {task_id for task_id, _ in lost}

    def requeue(self, task: Task, *, attempt_lost: bool) -> bool:
        row = self._held(task)
        if row is None:
            return False
        row.go_back(self.wall_clock)
        row.attempts += attempt_lost
        row.restarts += not attempt_lost
        return True

    def fail(self, task: Task, code: str) -> bool:
        row = self._held(task)
        if row is None:
            return False
        row.end(State.FAILED, self.wall_clock, code)
        return True

    def fail_overdue(self) -> set[str]:
        due = [row for row in self.rows.values() if row.unfinished and row.stage != Stage.DOWNLOADING]
        late = [row for row in due if row.deadline_at is not None and row.deadline_at < self.wall_clock]
        return self._fail_all(late, "timeout")

    def fail_unserved(self, model: str, older_than_s: float) -> set[str]:
        waiting = [row for row in self.rows.values() if row.state == State.QUEUED and row.dispatcher is None]
        old = [row for row in waiting if row.created_at < self.wall_clock - older_than_s]
        return self._fail_all([row for row in old if row.new.model != model], "model_not_served")

    def _fail_all(self, rows: Collection[ModelRow], code: str) -> set[str]:
        for row in rows:
            row.end(State.FAILED, self.wall_clock, code)
        return {row.new.id for row in rows}

    # -- the workers' side

    def start(self, task: Task) -> bool:
        row = self._held(task)
        if row is None or row.state != State.QUEUED:
            return False
        row.state, row.stage, row.started_at = State.PROCESSING, Stage.STARTING, self.wall_clock
        return True

    def report(self, task: Task, progress: Progress) -> bool:
        row = self._running(task)
        if row is None:
            return False
        if row.stage == Stage.DOWNLOADING and progress.stage != Stage.DOWNLOADING and row.deadline_at is not None:
            assert row.started_at is not None
            row.deadline_at += self.wall_clock - row.started_at
        row.stage = progress.stage
        row.progress = max(row.progress, progress.fraction(row.new.request.num_inference_steps))
        return True

    def owns(self, task: Task) -> bool:
        return self._running(task) is not None

    def complete(self, task: Task) -> bool:
        row = self._running(task)
        if row is None:
            return False
        row.end(State.COMPLETED, self.wall_clock)
        row.progress, row.has_output = 1.0, True
        return True

    def _held(self, task: Task) -> ModelRow | None:
        row = self.rows.get(task.id)
        return row if row and row.unfinished and row.claim == task.claim_token else None

    def _running(self, task: Task) -> ModelRow | None:
        row = self._held(task)
        return row if row and row.state == State.PROCESSING else None

    # -- retention

    def expire(self, age_s: float) -> set[str]:
        old = {task_id for task_id in self._ended_before(age_s) if self.rows[task_id].state == State.COMPLETED}
        for task_id in old:
            self.rows[task_id].state = State.EXPIRED
        return old

    def remove(self, age_s: float) -> set[str]:
        old = {task_id for task_id in self._ended_before(age_s) if self.rows[task_id].state in MAY_GO}
        for task_id in old:
            del self.rows[task_id]
        return old

    def _ended_before(self, age_s: float) -> set[str]:
        ended = [row for row in self.rows.values() if row.finished_at is not None]
        return {row.new.id for row in ended if (row.finished_at or 0.0) < self.wall_clock - age_s}
