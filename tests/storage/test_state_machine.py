"""The state machine of tasks, driven at random on every database and compared with a model after every move."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from storage.task_store import SqlTaskStore
from tests.storage.task_machine import DISPATCHERS, TaskMachine

EXAMPLES, STEPS = 60, 50


@pytest.fixture
def dispatcher_stores(store, database_url):
    other = SqlTaskStore.open(database_url)
    yield dict(zip(DISPATCHERS, (store, other), strict=True))
    other.close()


@pytest.mark.timeout(900)  # a failure is minimized for some minutes before it is shown
def test_whatever_two_dispatchers_and_jumping_clocks_do_the_store_does_what_the_model_says(dispatcher_stores):
    machine = type("Machine", (TaskMachine,), {"stores": dispatcher_stores})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
