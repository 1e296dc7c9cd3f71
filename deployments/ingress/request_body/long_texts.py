"""Splits one long text (an image as data URL) from JSON. Only the rest is parsed, so parsing stays bounded."""

import json
import secrets
from dataclasses import dataclass

LONG_BYTES = 64 * 1024
"""A text longer than this is removed before parsing. A text that is not an image is shorter, or exceeds the limit."""
MAX_BACKSLASHES = 1000
"""Maximum number of backslashes before a quote. With more, the quote may be misread and the JSON is rejected."""


class RemainderTooLarge(Exception):
    """The JSON without the long text exceeds its limit, or the JSON has a second long text."""


@dataclass(frozen=True)
class Split:
    """JSON in which `token` replaces the long text, if there is one."""

    remainder: bytes
    token: str
    text: bytes | None


def split_long_text(content: bytes | bytearray, max_rest_bytes: int) -> Split:
    """Split off the only text longer than LONG_BYTES. Visits each quote once. Raises RemainderTooLarge."""
    token, text = secrets.token_hex(16), None
    kept: list[bytes] = []
    size, at = 0, 0
    while (opening := content.find(b'"', at)) >= 0:
        closing = _closing_quote(content, opening, max_rest_bytes)
        is_long = closing - opening > LONG_BYTES
        if is_long and text is not None:
            raise RemainderTooLarge
        end = opening + 1 if is_long else closing + 1
        size += end - at
        if size > max_rest_bytes:
            raise RemainderTooLarge
        kept.append(bytes(content[at:end]))
        if is_long:
            text = bytes(content[opening + 1 : closing])
            kept.append(token.encode() + b'"')
        at = closing + 1
    if size + len(content) - at > max_rest_bytes:
        raise RemainderTooLarge
    return Split(b"".join([*kept, bytes(content[at:])]), token, text)


def spell_out(text: bytes) -> str:
    """Decode a JSON string without its quotes. Some encoders escape base64's slash and plus. Raises ValueError."""
    return str(json.loads(b'"' + text + b'"')) if b"\\" in text else text.decode()


def _closing_quote(content: bytes | bytearray, opening: int, max_escaped: int) -> int:
    """Return the index of the quote that closes the text opened at `opening`; the last index if there is none."""
    at = opening
    for _ in range(max_escaped):
        at = content.find(b'"', at + 1)
        if at < 0:
            return len(content) - 1
        before = content[max(opening, at - MAX_BACKSLASHES) : at]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return at
    raise RemainderTooLarge
