"""Remembers files of completed tasks that downloads did not find, for the notices of /health."""

import logging
import threading
import time

CACHE_TTL_S = 24 * 3600.0
MAX_REMEMBERED = 1000

logger = logging.getLogger("ray.serve")


class MissingFiles:
    """Keys of missing files, each with the time of the first failed download. Safe to use from several threads."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, key: str) -> None:
        """Remember a missing file's key. Logs it the first time."""
        with self._lock:
            known = key in self._since
            if known or len(self._since) < MAX_REMEMBERED:
                self._since[key] = time.monotonic()
        if not known:
            logger.error("the output store has lost %s, which a completed task names", key)

    def discard(self, key: str) -> None:
        """Forget a key, because its file was found."""
        if self._since:
            with self._lock:
                self._since.pop(key, None)

    def notices(self) -> tuple[str, ...]:
        """Return one sentence for the operator while files are missing."""
        with self._lock:
            newest = time.monotonic() - CACHE_TTL_S
            self._since = {key: since for key, since in self._since.items() if since > newest}
            keys = list(self._since)
        if not keys:
            return ()
        files = "1 file" if len(keys) == 1 else f"{len(keys)} files"
        advice = "python -m deployments.cli.admin check lists them all"
        return (f"the output store has lost {files} of completed tasks ({keys[-1]}); {advice}",)
