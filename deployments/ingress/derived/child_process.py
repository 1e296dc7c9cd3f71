"""Runs a child process that makes one derived file.

Decoding a whole video takes seconds of CPU time. The process has a lower priority than the API and a limit on its time.
"""

import subprocess
from pathlib import Path

from deployments.ingress.child_process import run_child
from models.errors import EncodeFailed
from storage.outputs.store import DerivedFile

CHILD = "deployments.ingress.derived.child"
MAX_MAKE_S = 120
HAS_NO_AUDIO = 4
"""The child's exit code for the audio of a video without audio."""
VARIABLES = {"OPENBLAS_NUM_THREADS": "1"}
LOGGED_CHARS = 2000


def write_in_child(kind: DerivedFile, source: Path, target: Path) -> bool:
    """Make `target` from `source`. Returns False if the video has no audio. Raises EncodeFailed, ReaderLost."""
    arguments, size_bytes = [kind, str(source), str(target)], source.stat().st_size
    try:
        done = run_child(CHILD, arguments, MAX_MAKE_S, VARIABLES, kind="video", size_bytes=size_bytes)
    except subprocess.TimeoutExpired:
        raise EncodeFailed(f"{kind} could not be made from the video in {MAX_MAKE_S} s") from None
    if done.returncode == HAS_NO_AUDIO:
        return False
    if done.returncode != 0 or not target.exists():
        why = done.stderr.decode(errors="replace")[-LOGGED_CHARS:]
        cause = ChildProcessError(f"the process that makes {kind} ended with {done.returncode}: {why}")
        raise EncodeFailed(f"{kind} could not be made from the video: its file may be damaged") from cause
    return True
