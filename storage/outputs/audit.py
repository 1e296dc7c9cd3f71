"""Compares the output store with the task rows: finds missing files, and files that no task needs."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from storage.outputs.store import ListedFile, OutputStore, all_output_keys
from storage.sql.retention import SqlRetentionStore
from storage.tasks import UNFINISHED, State

FOLDERS = ("outputs/", "inputs/")
ORPHAN_MIN_AGE_S = 24 * 3600.0
"""Younger files are ignored: an image is stored before its row is written, and a video before its row names it."""
PAGE_SIZE = 1000
"""The maximum number of keys in one S3 list request."""
KEY_PATTERN = re.compile(r"(?:outputs/ltx2_|inputs/)([0-9a-f]{32})(?:\..+)?")
"""The file names that this server creates. Other files are ignored."""
STATES_WITHOUT_OUTPUT = frozenset({State.CANCELED, State.EXPIRED, State.DELETED})
"""These states are final. A failed task may be queued again, so its files stay as long as its row."""


@dataclass(frozen=True)
class Audit:
    """The result: keys of missing files of completed tasks, and keys of files that no task needs."""

    missing: list[str]
    unneeded: list[str]


def audit_outputs(rows: SqlRetentionStore, outputs: OutputStore) -> Audit:
    """Compare all completed rows with all files. Raises StoreUnavailable.

    The rows are read before the files are listed, so a task that completes meanwhile has its files in the list. Files
    that seem to be missing are checked again, because their task may have been deleted meanwhile.
    """
    named = {key: task_id for task_id, keys in _completed(rows) for key in keys}
    listed = [file for folder in FOLDERS for file in _walk(outputs, folder)]
    there = {file.key for file in listed}
    absent = {key: task_id for key, task_id in named.items() if key not in there}
    return Audit(_confirm_missing(rows, outputs, absent), find_unneeded(rows, listed))


def find_unneeded(rows: SqlRetentionStore, listed: list[ListedFile]) -> list[str]:
    """The keys of files that no task needs and that are older than ORPHAN_MIN_AGE_S."""
    old = (each.key for each in listed if each.modified_at < time.time() - ORPHAN_MIN_AGE_S)
    task_ids = {key: task_id for key in old if (task_id := task_id_of(key)) is not None}
    return [key for key, state in _states(rows, task_ids) if _is_unneeded(key, task_ids[key], state)]


def task_id_of(key: str) -> str | None:
    """The id of the task that the file belongs to. None when this server did not create the file."""
    match = KEY_PATTERN.fullmatch(key)
    return match[1] if match else None


def _is_unneeded(key: str, task_id: str, state: State | None) -> bool:
    """Whether no task needs the file. Images and staged files are needed until the task ends, its output longer."""
    if state is None:
        return True
    if state in UNFINISHED:
        return False
    return state in STATES_WITHOUT_OUTPUT or key not in all_output_keys(task_id)


def _completed(rows: SqlRetentionStore) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the id of each completed task with the keys of its files."""
    after = ""
    while page := rows.completed(after, PAGE_SIZE):
        yield from page
        after = page[-1][0]


def _walk(outputs: OutputStore, folder: str) -> Iterator[ListedFile]:
    """Yield all files in a folder, in the order of their keys."""
    after = ""
    while page := outputs.list(folder, after, PAGE_SIZE):
        yield from page
        after = page[-1].key


def _confirm_missing(rows: SqlRetentionStore, outputs: OutputStore, absent: dict[str, str]) -> list[str]:
    """The keys in `absent` whose task is still completed and whose file is still missing. Values are task ids."""
    completed = (key for key, state in _states(rows, absent) if state == State.COMPLETED)
    return sorted(key for key in completed if outputs.stat(key) is None)


def _states(rows: SqlRetentionStore, task_ids: dict[str, str]) -> Iterator[tuple[str, State | None]]:
    """Yield each key with the state of its task; None when the task has no row."""
    keys = list(task_ids)
    for start in range(0, len(keys), PAGE_SIZE):
        page = keys[start : start + PAGE_SIZE]
        states = rows.states({task_ids[key] for key in page})
        yield from ((key, states.get(task_ids[key])) for key in page)
