"""The child process that reads one client's file. Its arguments are the kind of the job and the job as JSON.

It writes a file, and what it found as JSON to stdout. child_process.py starts it, without the server's environment.
"""

import dataclasses
import json
import resource
import sys

import av

from deployments.ingress.child_process import limit_process
from deployments.ingress.media.audio import write_audio
from deployments.ingress.media.child_process import AUDIO_JOB, job_from_json
from deployments.ingress.media.jobs import MAX_CONVERT_S, MAX_MEMORY_BYTES, MAX_WRITTEN_BYTES, REFUSED, AudioJob
from deployments.ingress.media.video import write_clip
from models.errors import InvalidRequest


def main() -> int:
    """Do one job, and return the exit code."""
    job = job_from_json(sys.argv[1] == AUDIO_JOB, sys.argv[2])
    limit_process(MAX_CONVERT_S, MAX_MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_WRITTEN_BYTES, MAX_WRITTEN_BYTES))
    av.logging.set_level(None)
    try:
        facts = write_audio(job) if isinstance(job, AudioJob) else write_clip(job)
    except InvalidRequest as error:
        sys.stderr.write(json.dumps([error.field, error.given, error.allowed]))
        return REFUSED
    sys.stdout.write(json.dumps(dataclasses.asdict(facts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
