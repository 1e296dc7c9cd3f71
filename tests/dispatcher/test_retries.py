"""Retries: whose fault an error is, and what becomes of the task."""

from dataclasses import replace

import pytest
from ray.exceptions import ActorDiedError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from deployments.dispatcher.retries import Verdict, failure, judge, unwrap
from models.errors import (
    EncodeFailed,
    GpuOutOfMemory,
    ModelUnavailable,
    RenderFailed,
    StoreUnavailable,
    TaskCancelled,
)
from models.progress import Stage
from models.request import VideoRequest
from storage.tasks import State, Task

MAX_ENCODES = 3
WAITING = Task(
    id="x",
    sequence=1,
    state=State.QUEUED,
    model="m",
    request=VideoRequest(prompt="x"),
    base_url="",
    input_key=None,
    claim=1,
    attempts=0,
    restarts=0,
    stage=None,
    step=0,
    progress=0.0,
    bytes_done=0,
    bytes_total=0,
    created_at=0.0,
    started_at=None,
    finished_at=None,
    output=None,
    failure=None,
)
RENDERING = replace(WAITING, state=State.PROCESSING, stage=Stage.DENOISING)
ENCODING = replace(WAITING, state=State.PROCESSING, stage=Stage.ENCODING)
ENDED = replace(WAITING, state=State.CANCELED)
UNAVAILABLE = DeploymentUnavailableError("generator")


@pytest.mark.parametrize(
    ("error", "row", "encodes", "verdict"),
    [
        (RenderFailed("x"), None, 1, Verdict.DROP),
        (RenderFailed("x"), ENDED, 1, Verdict.DROP),
        (TaskCancelled("x"), RENDERING, 1, Verdict.DROP),
        (ActorDiedError(), ENDED, 1, Verdict.DROP),
        (ActorDiedError(), RENDERING, 1, Verdict.COUNT_ATTEMPT),
        (ActorDiedError(), WAITING, 1, Verdict.GO_BACK),
        (ActorDiedError(), ENCODING, 1, Verdict.ENCODE_AGAIN),
        (ActorDiedError(), ENCODING, 3, Verdict.COUNT_ATTEMPT),
        (StoreUnavailable("x"), ENCODING, 2, Verdict.ENCODE_AGAIN),
        (StoreUnavailable("x"), ENCODING, 3, Verdict.FAIL),
        (StoreUnavailable("x"), WAITING, 1, Verdict.GO_BACK),
        (StoreUnavailable("x"), RENDERING, 1, Verdict.GO_BACK),
        (UNAVAILABLE, WAITING, 1, Verdict.GO_BACK),
        (WorkerCrashedError(), RENDERING, 1, Verdict.GO_BACK),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), WAITING, 1, Verdict.GO_BACK),
        (RenderFailed("x"), RENDERING, 1, Verdict.FAIL),
        (GpuOutOfMemory("x"), RENDERING, 1, Verdict.FAIL),
        (ModelUnavailable("x"), RENDERING, 1, Verdict.FAIL),
        (EncodeFailed("x"), ENCODING, 1, Verdict.FAIL),
        (RuntimeError("x"), RENDERING, 1, Verdict.FAIL),
    ],
    ids=str,
)
def test_the_way_on_follows_from_the_error_and_the_row(error, row, encodes, verdict):
    assert judge(error, row, encodes, MAX_ENCODES) == verdict


def test_the_error_that_was_raised_is_found_in_what_ray_wrapped_around_it():
    cause = GpuOutOfMemory("x")
    wrapped = RayTaskError("generate", "traceback", cause)
    assert unwrap(wrapped) is cause
    assert unwrap(RayTaskError("encode", "traceback", wrapped)) is cause
    assert unwrap(cause) is cause


def test_a_client_reads_the_domains_own_words():
    shown = failure(GpuOutOfMemory("needs 40 GB, there are 24"))
    assert (shown.message, shown.code, shown.retryable) == ("needs 40 GB, there are 24", "out_of_memory", False)


def test_an_error_of_our_own_is_named_as_such():
    shown = failure(KeyError("x"))
    assert (shown.code, shown.retryable) == ("internal_error", True)
    assert "KeyError" in shown.message


def test_a_generator_that_died_before_the_encoder_had_its_clip_is_an_actors_death() -> None:
    died = ActorDiedError()
    wrapped = RayServeException("Request to deployment 'Encoder' failed because an upstream actor died")
    wrapped.__cause__ = died
    assert unwrap(wrapped) is died
