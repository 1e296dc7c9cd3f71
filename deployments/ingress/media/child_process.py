"""Runs the child process that reads one client's audio or video file."""

import dataclasses
import json
import logging
import subprocess
from pathlib import Path
from typing import Any

from deployments.ingress.child_process import run_child
from deployments.ingress.media.jobs import MAX_CONVERT_S, REFUSED, AudioFacts, AudioJob, ClipBounds, ClipFacts, ClipJob
from models.errors import InvalidRequest
from models.request.json_words import Described

CHILD = "deployments.ingress.media.child"
AUDIO_JOB, CLIP_JOB = "audio", "video"
"""The kinds of jobs, which are also the fields of the files."""
VARIABLES = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
LOGGED_CHARS = 300

logger = logging.getLogger("ray.serve")


def read_audio_in_child(job: AudioJob) -> AudioFacts:
    """Write the part of the audio that is used. Raises InvalidRequest, ReaderLost."""
    return AudioFacts(**_run(AUDIO_JOB, job))


def read_clip_in_child(job: ClipJob) -> ClipFacts:
    """Write the clip. Raises InvalidRequest, ReaderLost."""
    return ClipFacts(**_run(CLIP_JOB, job))


def job_from_json(is_audio: bool, text: str) -> AudioJob | ClipJob:
    """The job that `_run` passes to the child."""
    fields = json.loads(text)
    fields |= {name: Path(fields[name]) for name in ("source", "target")}
    return AudioJob(**fields) if is_audio else ClipJob(**{**fields, "bounds": ClipBounds(**fields["bounds"])})


def _run(kind: str, job: AudioJob | ClipJob) -> dict[str, Any]:
    """Run the child on a job. Raises InvalidRequest for what ends it: the file is to blame. Raises ReaderLost."""
    arguments, size_bytes = [kind, json.dumps(dataclasses.asdict(job), default=str)], job.source.stat().st_size
    try:
        done = run_child(CHILD, arguments, MAX_CONVERT_S, VARIABLES, kind=kind, size_bytes=size_bytes)
    except subprocess.TimeoutExpired:
        given = Described(f"a file of {size_bytes} bytes that takes longer to read")
        raise InvalidRequest(kind, given, f"a file that is read within {MAX_CONVERT_S} s") from None
    if done.returncode == REFUSED:
        field, given, allowed = json.loads(done.stderr)
        raise InvalidRequest(field, Described(given), allowed)
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip()[-LOGGED_CHARS:]
        logger.info("a client's %s of %d bytes ended its reader with %d: %s", kind, size_bytes, done.returncode, why)
        given = Described(f"a file of {size_bytes} bytes that cannot be read")
        raise InvalidRequest(kind, given, "a whole and undamaged file")
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
