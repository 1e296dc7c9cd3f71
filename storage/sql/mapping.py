"""Conversion between table rows and the records of `storage.tasks`."""

import json
import logging
import time
from collections.abc import Collection
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Row

from models.checkpoint.profile import CheckpointProfile, Family
from models.progress import Stage
from models.request.adjustments import Adjustment
from models.request.request import VideoRequest
from storage.db.engine import sanitize_text
from storage.tasks import (
    Failure,
    GeneratorReplica,
    NewTask,
    Output,
    ReplicaState,
    RequestContext,
    ServedModel,
    State,
    Task,
)

logger = logging.getLogger("ray.serve")


def task_to_row(new: NewTask) -> dict[str, Any]:
    """The initial column values of a task."""
    now, timeout_s = time.time(), new.request.timeout_s
    return {
        "id": new.id,
        "state": State.QUEUED,
        "model": new.model,
        "owner": new.owner,
        "request": new.request.model_dump_json(),
        "explicit_fields": json.dumps(sorted(new.request.model_fields_set)),
        "base_url": sanitize_text(new.base_url),
        "input_key": new.input_key,
        "source_task": new.source_task,
        "rendered_frames": new.rendered_frames,
        "request_id": new.context.request_id,
        "traceparent": new.context.traceparent,
        "claim_token": 0,
        "attempts": 0,
        "requeues": 0,
        "step": 0,
        "adjustments": adjustments_value(new.adjustments),
        "progress": 0.0,
        "bytes_done": 0,
        "bytes_total": 0,
        "created_at": now,
        "deadline_at": None if timeout_s is None else now + timeout_s,
    }


def adjustments_value(adjustments: Collection[Adjustment]) -> str | None:
    """The value of the column `adjustments`: a JSON list, or None."""
    return json.dumps([asdict(each) for each in adjustments]) if adjustments else None


def row_to_replica(row: Row[Any]) -> GeneratorReplica:
    """The Generator replica in a row."""
    state, room_bytes = ReplicaState(row.state), row.free_vram_bytes
    return GeneratorReplica(row.id, row.model, state, row.message, row.bytes_done, row.bytes_total, room_bytes)


def profile_value(profile: CheckpointProfile | None) -> str | None:
    """The value of the column `profile`: a JSON object, or None."""
    return None if profile is None else json.dumps(asdict(profile))


def row_to_served_model(row: Row[Any]) -> ServedModel:
    """The served model in a row."""
    return ServedModel(row.model, _profile(json.loads(row.profile)) if row.profile else None, row.free_vram_bytes)


def _profile(values: dict[str, Any]) -> CheckpointProfile:
    sigmas = values["sigmas"]
    lists = {"stg_blocks": tuple(values["stg_blocks"]), "sigmas": None if sigmas is None else tuple(sigmas)}
    return CheckpointProfile(**{**values, **lists, "family": Family(values["family"])})


def row_to_task(row: Row[Any] | SimpleNamespace) -> Task:
    """The task in a row. Raises TypeError or ValueError for a row of another version that this one cannot read."""
    return Task(
        id=row.id,
        sequence=row.sequence,
        state=State(row.state),
        model=row.model,
        owner=row.owner,
        request=_request(row),
        base_url=row.base_url,
        input_key=row.input_key,
        source_task=row.source_task,
        rendered_frames=row.rendered_frames,
        claim_token=row.claim_token,
        attempts=row.attempts,
        requeues=row.requeues,
        stage=Stage(row.stage) if row.stage else None,
        step=row.step,
        progress=row.progress,
        bytes_done=row.bytes_done,
        bytes_total=row.bytes_total,
        created_at=row.created_at,
        started_at=row.started_at,
        rendering_at=row.rendering_at,
        decoding_at=row.decoding_at,
        preview_step=row.preview_step,
        finished_at=row.finished_at,
        output=_output(row),
        failure=Failure(row.error, row.error_code, row.retryable) if row.error_code else None,
        adjustments=tuple(Adjustment(**each) for each in json.loads(row.adjustments or "[]")),
        context=RequestContext(row.request_id, row.traceparent),
    )


def task_or_none(row: Row[Any]) -> Task | None:
    """The task in a row. None, with a warning in the log, for a row that only a newer version can read."""
    try:
        return row_to_task(row)
    except (TypeError, ValueError) as error:
        logger.warning("task %s cannot be read by this version: %s", row.id, error)
        return None


def _request(row: Row[Any] | SimpleNamespace) -> VideoRequest:
    """The request with all parameters, so that new defaults do not change old tasks. Unset ones are marked as unset."""
    request = VideoRequest.model_validate_json(row.request)
    return VideoRequest.model_construct(set(json.loads(row.explicit_fields)), **dict(request))


def _output(row: Row[Any] | SimpleNamespace) -> Output | None:
    if not row.output_key:
        return None
    return Output(row.output_key, row.poster_key, row.duration_s, row.size_bytes)
