"""Writes a file atomically: under a temporary name first, then moved to its final name."""

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import EncodeFailed

DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`. At the end of the context it is renamed to `path`.

    On an error the temporary file is deleted and `path` stays unchanged. Raises EncodeFailed for an OSError; the
    message says when the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise translate_os_error(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def translate_os_error(error: OSError, path: Path) -> EncodeFailed:
    """The error for the client, with the reason why `path` could not be written."""
    if error.errno in DISK_IS_FULL:
        return EncodeFailed(f"no space left to write {path.name}: the disk or the quota is full")
    return EncodeFailed(f"{path.name} could not be written: {error.strerror or error}")
