"""Conditional requests and byte ranges of a file (RFC 9110, sections 13 and 14)."""

import re
from email.utils import parsedate_to_datetime

from fastapi import Request
from starlette.exceptions import HTTPException

from storage.outputs.store import StoredFile

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


class RangeNotSatisfiable(HTTPException):
    """The requested range lies outside the file."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__(416, f"the file has {file.size_bytes} bytes", {"Content-Range": f"bytes */{file.size_bytes}"})


class PreconditionFailed(HTTPException):
    """The file is not the version that the client wants a part of."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__(412, f'the file does not match your condition: its ETag is "{file.etag}"')


def check_preconditions(request: Request, file: StoredFile) -> None:
    """Raise PreconditionFailed if the file changed since the client began (sections 13.1.1 and 13.1.4)."""
    if (known := request.headers.get("if-match")) is not None:
        same = not {"*", f'"{file.etag}"'}.isdisjoint(_tags(known))
    else:
        until = _time(request.headers.get("if-unmodified-since"))
        same = until is None or int(file.modified_at) <= until
    if not same:
        raise PreconditionFailed(file)


def is_not_modified(request: Request, file: StoredFile) -> bool:
    """Tell whether the client's own copy is still current (section 13.2.2)."""
    if (known := request.headers.get("if-none-match")) is not None:
        tags = {tag.removeprefix("W/") for tag in _tags(known)}
        return not {"*", f'"{file.etag}"'}.isdisjoint(tags)
    since = _time(request.headers.get("if-modified-since"))
    return since is not None and int(file.modified_at) <= since


def parse_range(request: Request, file: StoredFile) -> tuple[int, int] | None:
    """Return the start and length that the client asked for, or None for the whole file.

    A request for several ranges gets the whole file too. Raises RangeNotSatisfiable.
    """
    asked = RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if asked is None or not any(asked.groups()) or not _same_as_before(request, file):
        return None
    first, last = asked.groups()
    if not first:
        length = min(int(last), file.size_bytes)
        start, end = file.size_bytes - length, file.size_bytes
    else:
        start, end = int(first), min(int(last) + 1 if last else file.size_bytes, file.size_bytes)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeNotSatisfiable(file)
    return start, end - start


def _same_as_before(request: Request, file: StoredFile) -> bool:
    """Tell whether a part may be sent: If-Range is absent or names the current file (section 13.1.5)."""
    condition = request.headers.get("if-range")
    if condition is None or condition == f'"{file.etag}"':
        return True
    since = _time(condition)
    return since is not None and int(file.modified_at) == since


def _tags(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",")]


def _time(header: str | None) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except (ValueError, OverflowError):
        return None
