"""The output store in a folder on this host or on a file system that all hosts mount."""

import contextlib
import errno
import heapq
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.errors import StorageFull, StoreUnavailable
from storage.outputs.store import CHUNK_BYTES, ListedFile, StoredFile, check_key

OUTPUT_MODE, INPUT_MODE = 0o644, 0o600
"""Another process, such as a web server, may read videos if it can enter the folder. Input images are private."""
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""Error codes of file systems without hard links: exFAT, some shares and some network file systems."""


class LocalOutputStore:
    """Files under a root folder. A file appears completely or not at all. Keys cannot name files outside the root."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def put(self, key: str, source: Path | bytes) -> None:
        """Write a temporary file in the target's folder, sync it to disk, then rename it."""
        target = self._path(key)
        with translate_os_errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.", suffix=".part")
            try:
                _fill(descriptor, source)
                Path(name).chmod(OUTPUT_MODE if key.startswith("outputs/") else INPUT_MODE)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def publish(self, staged: str, key: str) -> StoredFile:
        """Link the staged file to its final name, verify the size, then delete the staged file."""
        source, target = self._path(staged), self._path(key)
        with translate_os_errors():
            size_bytes = source.stat().st_size
            _link(source, target)
            if target.stat().st_size != size_bytes:
                source.replace(target)
            source.unlink(missing_ok=True)
            _sync_folder(target.parent)
            return _stored(target)

    def stat(self, key: str) -> StoredFile | None:
        """Describe a file. None when it does not exist."""
        with translate_os_errors():
            try:
                return _stored(self._path(key))
            except FileNotFoundError:
                return None

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a file in chunks of CHUNK_BYTES. A file that is deleted meanwhile can still be read to its end."""
        chunks = _chunks(self._path(key), start, length)
        next(chunks)
        return chunks

    def delete(self, key: str) -> None:
        """Delete a file, if it exists."""
        with translate_os_errors():
            self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str, after: str, limit: int) -> Sequence[ListedFile]:
        """List the keys in a folder. Reads all names of the folder, but only the metadata of the files it returns."""
        folder = self._root / prefix
        with translate_os_errors():
            try:
                keys = [prefix + file.name for file in folder.iterdir()]
            except FileNotFoundError:
                return ()
            wanted = heapq.nsmallest(limit, (key for key in keys if key > after))
            return [found for key in wanted if (found := self._listed(key))]

    def presign_url(self, key: str, expires_s: int, filename: str) -> None:
        """Always None: the Ingress serves the files of a folder itself."""

    def free_bytes(self) -> int:
        """Free bytes on the file system of the root folder that this process may use."""
        there = next(each for each in (self._root, *self._root.parents) if each.exists())
        with translate_os_errors():
            return shutil.disk_usage(there).free

    def check_health(self) -> None:
        """Write and delete a small file in the folder of the videos."""
        folder = self._root / "outputs"
        with translate_os_errors():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"ok")

    def _listed(self, key: str) -> ListedFile | None:
        """Describe a file. None when it has been deleted meanwhile or is not a regular file."""
        path = self._root / key
        with contextlib.suppress(FileNotFoundError):
            return ListedFile(key, path.stat().st_mtime) if path.is_file() else None
        return None

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)


def _stored(path: Path) -> StoredFile:
    found = path.stat()
    return StoredFile(found.st_size, found.st_mtime, f"{found.st_mtime_ns:x}-{found.st_size:x}")


def _link(source: Path, target: Path) -> None:
    """Hard-link the file to `target` unless that exists. On a file system without hard links, rename it instead."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if not target.exists():
            source.replace(target)


def _chunks(path: Path, start: int, length: int | None) -> Iterator[bytes]:
    """Yield an empty chunk once the file is open. A started generator closes the file, even when it is not read on."""
    with translate_os_errors(FileNotFoundError), path.open("rb", buffering=0) as file:
        yield b""
        file.seek(start)
        left = length if length is not None else os.fstat(file.fileno()).st_size - start
        while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


def _fill(descriptor: int, source: Path | bytes) -> None:
    """Write `source` to an open file, sync it to disk and close it."""
    with os.fdopen(descriptor, "wb") as file:
        if isinstance(source, bytes):
            file.write(source)
        else:
            with source.open("rb") as content:
                while chunk := content.read(CHUNK_BYTES):
                    file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def translate_os_errors(*passed_on: type[OSError]) -> Iterator[None]:
    """Raise StorageFull or StoreUnavailable for an OSError, other than those that are passed on."""
    try:
        yield
    except passed_on:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the output store is full: no space left on its disk") from error
        raise StoreUnavailable(f"the output store did not answer: {error.strerror}") from error
