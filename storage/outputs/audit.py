"""Compares the output store with the rows: what is missing there, and what no task needs."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from storage.outputs.store import ListedFile, OutputStore, output_key, poster_key
from storage.sql.retention import SqlRetentionStore
from storage.tasks import UNFINISHED, State

FOLDERS = ("outputs/", "inputs/")
ORPHAN_MIN_AGE_S = 24 * 3600.0
"""A younger file is left alone: an image is stored before its row is written, a video before its row names it."""
PAGE_SIZE = 1000
"""As many as S3 lists in one request."""
KEY_PATTERN = re.compile(r"(?:outputs/ltx2_|inputs/)([0-9a-f]{32})(?:\..+)?")
"""A name that this server gives. Files of other names are not ours to judge."""
STATES_WITHOUT_OUTPUT = frozenset({State.CANCELED, State.EXPIRED, State.DELETED})
"""Ended without a way back. A failed task may be queued again: its files stay as long as its row."""


@dataclass(frozen=True)
class Audit:
    """What was found: keys of files that completed tasks name and that are gone, and keys that no task needs."""

    missing: list[str]
    unneeded: list[str]


def audit_outputs(rows: SqlRetentionStore, outputs: OutputStore) -> Audit:
    """Compare all completed rows with all files. Raises StoreUnavailable.

    Rows are read before files are listed, so that a task that completes meanwhile has its files in the list. What
    then seems to be missing is looked at once more, for a task that was deleted meanwhile.
    """
    named = {key: task_id for task_id, keys in _completed(rows) for key in keys}
    listed = [file for folder in FOLDERS for file in _walk(outputs, folder)]
    there = {file.key for file in listed}
    absent = {key: task_id for key, task_id in named.items() if key not in there}
    return Audit(_confirm_missing(rows, outputs, absent), find_unneeded(rows, listed))


def find_unneeded(rows: SqlRetentionStore, listed: list[ListedFile]) -> list[str]:
    """The keys of files that are old enough to be judged and that no task needs."""
    old = (each.key for each in listed if each.modified_at < time.time() - ORPHAN_MIN_AGE_S)
    task_ids = {key: task_id for key in old if (task_id := task_id_of(key)) is not None}
    return [key for key, state in _states(rows, task_ids) if _is_unneeded(key, task_ids[key], state)]


def task_id_of(key: str) -> str | None:
    """The id of the task that a file was written for; None for a file that is not ours."""
    match = KEY_PATTERN.fullmatch(key)
    return match[1] if match else None


def _is_unneeded(key: str, task_id: str, state: State | None) -> bool:
    """Whether no task needs a file: images and staged files serve a task until it ends, its output longer."""
    if state is None:
        return True
    if state in UNFINISHED:
        return False
    return state in STATES_WITHOUT_OUTPUT or key not in (output_key(task_id), poster_key(task_id))


def _completed(rows: SqlRetentionStore) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The id of each completed task with the keys of its files, page by page."""
    after = ""
    while page := rows.completed(after, PAGE_SIZE):
        yield from page
        after = page[-1][0]


def _walk(outputs: OutputStore, folder: str) -> Iterator[ListedFile]:
    """All files of a folder, in the order of their keys."""
    after = ""
    while page := outputs.list(folder, after, PAGE_SIZE):
        yield from page
        after = page[-1].key


def _confirm_missing(rows: SqlRetentionStore, outputs: OutputStore, absent: dict[str, str]) -> list[str]:
    """Of keys and the tasks that name them, the keys whose task is still completed and whose file is not there."""
    completed = (key for key, state in _states(rows, absent) if state == State.COMPLETED)
    return sorted(key for key in completed if outputs.stat(key) is None)


def _states(rows: SqlRetentionStore, task_ids: dict[str, str]) -> Iterator[tuple[str, State | None]]:
    """Each key with the state of the task that `task_ids` has for it, None where it has no row; asked page by page."""
    keys = list(task_ids)
    for start in range(0, len(keys), PAGE_SIZE):
        page = keys[start : start + PAGE_SIZE]
        states = rows.states({task_ids[key] for key in page})
        yield from ((key, states.get(task_ids[key])) for key in page)
