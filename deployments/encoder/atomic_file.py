"""A file is there whole or not at all: written under another name, moved into place when it is finished."""

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import EncodeFailed

DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path`; what is written there becomes `path` at the end.

    On any error the temporary file is removed and `path` stays as it was. Raises EncodeFailed for an OSError,
    and says so when the disk is full.
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
    """Say in words why `path` could not be written."""
    if error.errno in DISK_IS_FULL:
        return EncodeFailed(f"no space left to write {path.name}: the disk or the quota is full")
    return EncodeFailed(f"{path.name} could not be written: {error.strerror or error}")
