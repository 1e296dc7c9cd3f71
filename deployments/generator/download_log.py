"""Logs the progress of a download: one line per 5 %, so that a slow download does not fill the disk."""

import logging

from models.progress import Progress, Stage

LINES = 20
GB = 1e9

logger = logging.getLogger("ray.serve")


class DownloadLog:
    """Logs the download of one run. Call it with each Progress."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, progress: Progress) -> None:
        """Log a line if another 5 % has been downloaded since the last line."""
        if progress.stage != Stage.DOWNLOADING or not progress.bytes_total:
            return
        twentieth = progress.bytes_done * LINES // progress.bytes_total
        if twentieth > self._told:
            self._told = twentieth
            done, total = progress.bytes_done / GB, progress.bytes_total / GB
            logger.info("downloading the model: %.1f of %.1f GB (%d %%)", done, total, 100 * twentieth // LINES)
