"""Retries: the cause of an error decides what happens to the task."""

from dataclasses import replace

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from deployments.dispatcher.retry_policy import (
    MAX_ENCODES,
    STORE_TIMEOUT_S,
    EncodeRetryBudget,
    RetryDecision,
    decide_retry,
    failure_from,
    replica_lost_failure,
    unwrap_ray_error,
)
from models.errors import (
    EncodeFailed,
    GpuOutOfMemory,
    ModelUnavailable,
    RenderFailed,
    StorageFull,
    StoreUnavailable,
    TaskCanceled,
)
from models.progress import Stage
from storage.tasks import State
from tests.tasks import WAITING

RENDERING = replace(WAITING, state=State.PROCESSING, stage=Stage.DENOISING)
ENCODING = replace(WAITING, state=State.PROCESSING, stage=Stage.ENCODING)
ENDED = replace(WAITING, state=State.CANCELED)
UNAVAILABLE = DeploymentUnavailableError("generator")


@pytest.mark.parametrize(
    ("error", "row", "may_encode_again", "decision"),
    [
        (RenderFailed("x"), None, True, RetryDecision.IGNORE),
        (RenderFailed("x"), ENDED, True, RetryDecision.IGNORE),
        (TaskCanceled("x"), RENDERING, True, RetryDecision.IGNORE),
        (ActorDiedError(), ENDED, True, RetryDecision.IGNORE),
        (ActorDiedError(), RENDERING, True, RetryDecision.RETRY_COUNTED),
        (ActorDiedError(), WAITING, True, RetryDecision.REQUEUE),
        (ActorDiedError(), ENCODING, True, RetryDecision.ENCODE_AGAIN),
        (ActorDiedError(), ENCODING, False, RetryDecision.RETRY_COUNTED),
        (StoreUnavailable("x"), ENCODING, True, RetryDecision.ENCODE_AGAIN),
        (StoreUnavailable("x"), ENCODING, False, RetryDecision.FAIL),
        (StoreUnavailable("x"), WAITING, True, RetryDecision.REQUEUE),
        (StoreUnavailable("x"), RENDERING, True, RetryDecision.REQUEUE),
        (UNAVAILABLE, WAITING, True, RetryDecision.REQUEUE),
        (WorkerCrashedError(), RENDERING, True, RetryDecision.REQUEUE),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), WAITING, True, RetryDecision.REQUEUE),
        (RenderFailed("x"), RENDERING, True, RetryDecision.FAIL),
        (GpuOutOfMemory("x"), RENDERING, True, RetryDecision.FAIL),
        (ModelUnavailable("x"), RENDERING, True, RetryDecision.FAIL),
        (EncodeFailed("x"), ENCODING, True, RetryDecision.FAIL),
        (RuntimeError("x"), RENDERING, True, RetryDecision.FAIL),
    ],
    ids=str,
)
def test_the_way_on_follows_from_the_error_and_the_row(error, row, may_encode_again, decision):
    assert decide_retry(error, row, may_encode_again=may_encode_again) == decision


def test_the_error_that_was_raised_is_found_in_what_ray_wrapped_around_it():
    cause = GpuOutOfMemory("x")
    wrapped = RayTaskError("generate", "traceback", cause)
    assert unwrap_ray_error(wrapped) is cause
    assert unwrap_ray_error(RayTaskError("encode", "traceback", wrapped)) is cause
    assert unwrap_ray_error(cause) is cause


def test_a_client_reads_the_domains_own_words():
    shown = failure_from(GpuOutOfMemory("needs 40 GB, there are 24"))
    assert (shown.message, shown.code, shown.retryable) == ("needs 40 GB, there are 24", "out_of_memory", False)


def test_an_error_of_our_own_is_named_as_such():
    shown = failure_from(KeyError("x"))
    assert (shown.code, shown.retryable) == ("internal_error", True)
    assert "KeyError" in shown.message


def test_a_generator_that_died_before_the_encoder_had_its_clip_is_an_actors_death() -> None:
    died = ActorDiedError()
    wrapped = RayServeException("Request to deployment 'Encoder' failed because an upstream actor died")
    wrapped.__cause__ = died
    assert unwrap_ray_error(wrapped) is died


def test_a_store_that_is_away_is_waited_for_and_one_that_is_full_or_an_encoder_that_dies_is_tried_a_few_times():
    away, tried = EncodeRetryBudget(), EncodeRetryBudget()
    assert all(away.allow_retry(StoreUnavailable("x")) for _ in range(50))
    away._began_at -= STORE_TIMEOUT_S
    assert not away.allow_retry(StoreUnavailable("x"))
    errors = [StorageFull("x"), ActorDiedError(), StorageFull("x")]
    assert [tried.allow_retry(error) for error in errors] == [True, True, False]
    assert len(errors) == MAX_ENCODES


def test_a_task_whose_generators_died_says_what_they_died_of():
    assert "memory ran out" in replica_lost_failure(OutOfMemoryError("x"), 3).message
    assert "died 3 times" in replica_lost_failure(ActorDiedError(), 3).message
