"""Retries: whose fault an error is, and what becomes of the task."""

from dataclasses import replace

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from deployments.dispatcher.retries import MAX_ENCODES, STORE_PATIENCE_S, Encodes, Verdict, failure, judge, lost, unwrap
from models.errors import (
    EncodeFailed,
    GpuOutOfMemory,
    ModelUnavailable,
    RenderFailed,
    StorageFull,
    StoreUnavailable,
    TaskCancelled,
)
from models.progress import Stage
from storage.tasks import State
from tests.tasks import WAITING

RENDERING = replace(WAITING, state=State.PROCESSING, stage=Stage.DENOISING)
ENCODING = replace(WAITING, state=State.PROCESSING, stage=Stage.ENCODING)
ENDED = replace(WAITING, state=State.CANCELED)
UNAVAILABLE = DeploymentUnavailableError("generator")


@pytest.mark.parametrize(
    ("error", "row", "may_encode_again", "verdict"),
    [
        (RenderFailed("x"), None, True, Verdict.DROP),
        (RenderFailed("x"), ENDED, True, Verdict.DROP),
        (TaskCancelled("x"), RENDERING, True, Verdict.DROP),
        (ActorDiedError(), ENDED, True, Verdict.DROP),
        (ActorDiedError(), RENDERING, True, Verdict.COUNT_ATTEMPT),
        (ActorDiedError(), WAITING, True, Verdict.GO_BACK),
        (ActorDiedError(), ENCODING, True, Verdict.ENCODE_AGAIN),
        (ActorDiedError(), ENCODING, False, Verdict.COUNT_ATTEMPT),
        (StoreUnavailable("x"), ENCODING, True, Verdict.ENCODE_AGAIN),
        (StoreUnavailable("x"), ENCODING, False, Verdict.FAIL),
        (StoreUnavailable("x"), WAITING, True, Verdict.GO_BACK),
        (StoreUnavailable("x"), RENDERING, True, Verdict.GO_BACK),
        (UNAVAILABLE, WAITING, True, Verdict.GO_BACK),
        (WorkerCrashedError(), RENDERING, True, Verdict.GO_BACK),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), WAITING, True, Verdict.GO_BACK),
        (RenderFailed("x"), RENDERING, True, Verdict.FAIL),
        (GpuOutOfMemory("x"), RENDERING, True, Verdict.FAIL),
        (ModelUnavailable("x"), RENDERING, True, Verdict.FAIL),
        (EncodeFailed("x"), ENCODING, True, Verdict.FAIL),
        (RuntimeError("x"), RENDERING, True, Verdict.FAIL),
    ],
    ids=str,
)
def test_the_way_on_follows_from_the_error_and_the_row(error, row, may_encode_again, verdict):
    assert judge(error, row, may_encode_again=may_encode_again) == verdict


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


def test_a_store_that_is_away_is_waited_for_and_one_that_is_full_or_an_encoder_that_dies_is_tried_a_few_times():
    away, tried = Encodes(), Encodes()
    assert all(away.may_go_on(StoreUnavailable("x")) for _ in range(50))
    away._began_at -= STORE_PATIENCE_S
    assert not away.may_go_on(StoreUnavailable("x"))
    errors = [StorageFull("x"), ActorDiedError(), StorageFull("x")]
    assert [tried.may_go_on(error) for error in errors] == [True, True, False]
    assert len(errors) == MAX_ENCODES


def test_a_task_whose_generators_died_says_what_they_died_of():
    assert "memory ran out" in lost(OutOfMemoryError("x"), 3).message
    assert "died 3 times" in lost(ActorDiedError(), 3).message
