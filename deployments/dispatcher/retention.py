"""Deletes expired files and task rows, and files that belong to no task.

The row changes before its files are deleted, so no poll names a deleted file. A row is deleted after its files. Files
that could not be deleted are found again later, at the latest as files without a task.
"""

import asyncio
import logging
import time
from collections.abc import Collection

from deployments.settings import RetentionSettings
from models.errors import StoreUnavailable
from storage.outputs.audit import FOLDERS, find_unneeded
from storage.outputs.store import OutputStore, all_keys
from storage.sql.retention import SqlRetentionStore

INTERVAL_S = 60.0
WEBHOOK_TTL_S = 2 * 24 * 3600.0
"""How long a webhook may still be tried after its task ended, at most."""
logger = logging.getLogger("ray.serve")


class Retention:
    """Runs the rounds. Each round looks at no more than `batch_size` rows and files of each kind."""

    def __init__(self, settings: RetentionSettings, rows: SqlRetentionStore, outputs: OutputStore) -> None:
        self._settings = settings
        self._rows = rows
        self._outputs = outputs
        self._began_at = -INTERVAL_S
        self._under_way: asyncio.Task[None] | None = None
        self._seen = dict.fromkeys(FOLDERS, "")

    def start_if_due(self) -> None:
        """Start a round in a thread if the last one began INTERVAL_S ago and has ended. Does not wait for it."""
        running = self._under_way is not None and not self._under_way.done()
        if running or time.monotonic() - self._began_at < INTERVAL_S:
            return
        self._began_at = time.monotonic()
        self._under_way = asyncio.create_task(self._run_round_in_thread())

    async def _run_round_in_thread(self) -> None:
        try:
            await asyncio.to_thread(self.run_round)
        except StoreUnavailable as error:
            logger.warning("old files and rows are deleted later: %s", error.message)

    def run_round(self) -> None:
        """Delete everything that is due. Blocks; raises StoreUnavailable, and the next round continues."""
        self._outputs.check_health()  # otherwise each file could cause a separate wait
        self._expire_outputs()
        self._remove_rows()
        self._delete_webhooks()
        for folder in FOLDERS:
            self._remove_orphans(folder)

    def _expire_outputs(self) -> None:
        if self._settings.output_ttl_s is None:
            return
        expired = self._rows.expire(time.time() - self._settings.output_ttl_s, self._settings.batch_size)
        for task_id in expired:
            self._delete(all_keys(task_id))
        if expired:
            logger.info("deleted the files of %d tasks, which are older than retention.output_ttl_s", len(expired))

    def _remove_rows(self) -> None:
        if self._settings.task_ttl_s is None:
            return
        ended_before = time.time() - self._settings.task_ttl_s
        old = self._rows.old(ended_before, self._settings.batch_size)
        without_files = [task_id for task_id in old if self._delete(all_keys(task_id))]
        if without_files:
            self._rows.remove(without_files, ended_before)
            logger.info("deleted %d tasks, which ended more than retention.task_ttl_s ago", len(without_files))

    def _delete_webhooks(self) -> None:
        """Delete old webhook rows. A row is kept as long as a task without a video, plus WEBHOOK_TTL_S."""
        if self._settings.task_ttl_s is None:
            return
        made_before = time.time() - self._settings.task_ttl_s - WEBHOOK_TTL_S
        if forgotten := self._rows.delete_webhooks(made_before, self._settings.batch_size):
            logger.info("deleted %d webhooks, which are older than retention.task_ttl_s", forgotten)

    def _remove_orphans(self, folder: str) -> None:
        """Check the next batch of files in `folder`. Starts again from the first file after the last one."""
        found = self._outputs.list(folder, self._seen[folder], self._settings.batch_size)
        self._seen[folder] = found[-1].key if found else ""
        orphans = find_unneeded(self._rows, list(found))
        if orphans and self._delete(orphans):
            logger.info("removed %d files under %s that no task needs", len(orphans), folder)

    def _delete(self, keys: Collection[str]) -> bool:
        """Delete files. Returns whether all are gone: one that cannot be deleted does not stop the others."""
        gone = True
        for key in keys:
            try:
                self._outputs.delete(key)
            except StoreUnavailable as error:
                logger.warning("%s could not be removed: %s", key, error.message)
                gone = False
        return gone
