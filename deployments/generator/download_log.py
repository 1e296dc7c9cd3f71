"""Writes to the log how far a download is: a line for each twentieth of it, so that a slow one fills no disk."""

import logging

from models.progress import Progress, Stage

LINES = 20
GB = 1e9

logger = logging.getLogger("ray.serve")


class DownloadLog:
    """Of one run. Call it with each Progress."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, progress: Progress) -> None:
        """Write a line if the download has come further than the last one said."""
        if progress.stage != Stage.DOWNLOADING or not progress.bytes_total:
            return
        twentieth = progress.bytes_done * LINES // progress.bytes_total
        if twentieth > self._told:
            self._told = twentieth
            done, total = progress.bytes_done / GB, progress.bytes_total / GB
            logger.info("downloading the model: %.1f of %.1f GB (%d %%)", done, total, 100 * twentieth // LINES)
