"""JSON with one long text in it: an image as a data url. The rest is parsed within a bound, and never the image."""

import json
import secrets
from dataclasses import dataclass

LONG_BYTES = 64 * 1024
"""A text of more is taken out before the rest is parsed; what is no image is shorter, or over the bound."""
MAX_BACKSLASHES = 1000
"""In a row, before a quote; with more of them the JSON is read wrongly, and refused."""


class RemainderTooLarge(Exception):
    """What is not the long text is over the bound, or there is a second one."""


@dataclass(frozen=True)
class Split:
    """JSON whose long text, if there is one, is replaced by the word `token`."""

    remainder: bytes
    token: str
    text: bytes | None


def split_long_text(content: bytes | bytearray, max_rest_bytes: int) -> Split:
    """Split off the one text of more than LONG_BYTES; looks once at each quote. Raises RemainderTooLarge."""
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
    """The text between two quotes of JSON: some encoders escape the slash and the plus of base64. Raises ValueError."""
    return str(json.loads(b'"' + text + b'"')) if b"\\" in text else text.decode()


def _closing_quote(content: bytes | bytearray, opening: int, max_escaped: int) -> int:
    """Where the text that begins at `opening` ends; the last byte where it does not."""
    at = opening
    for _ in range(max_escaped):
        at = content.find(b'"', at + 1)
        if at < 0:
            return len(content) - 1
        before = content[max(opening, at - MAX_BACKSLASHES) : at]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return at
    raise RemainderTooLarge
