"""Splits long texts, images as data URLs, from JSON. Only the rest is parsed, and its size is limited."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

LONG_BYTES = 64 * 1024
"""A longer text is removed before the rest is parsed. A text that is not an image is shorter, or it is over the size
limit."""
MAX_BACKSLASHES = 1000
"""The most backslashes in a row before a quote. With more, the JSON is read incorrectly and refused."""


class RemainderTooLarge(Exception):
    """The JSON without its long texts is over the size limit, or there are too many of them."""


@dataclass(frozen=True)
class Split:
    """JSON in which a token replaces each long text, and the texts by their tokens."""

    remainder: bytes
    texts: Mapping[str, bytes]


def split_long_texts(content: bytes | bytearray, max_rest_bytes: int, max_texts: int = 1) -> Split:
    """Split off all texts over LONG_BYTES. Reads each quote once. Raises RemainderTooLarge."""
    texts: dict[str, bytes] = {}
    kept: list[bytes] = []
    size, at = 0, 0
    while (opening := content.find(b'"', at)) >= 0:
        closing = _closing_quote(content, opening, max_rest_bytes)
        is_long = closing - opening > LONG_BYTES
        if is_long and len(texts) == max_texts:
            raise RemainderTooLarge
        end = opening + 1 if is_long else closing + 1
        size += end - at
        if size > max_rest_bytes:
            raise RemainderTooLarge
        kept.append(bytes(content[at:end]))
        if is_long:
            token = secrets.token_hex(16)
            texts[token] = bytes(content[opening + 1 : closing])
            kept.append(token.encode() + b'"')
        at = closing + 1
    if size + len(content) - at > max_rest_bytes:
        raise RemainderTooLarge
    return Split(b"".join([*kept, bytes(content[at:])]), texts)


def spell_out(text: bytes) -> str:
    """Decode the text between two JSON quotes. Some encoders escape base64's slash and plus. Raises ValueError."""
    return str(json.loads(b'"' + text + b'"')) if b"\\" in text else text.decode()


def _closing_quote(content: bytes | bytearray, opening: int, max_escaped: int) -> int:
    """Return the index of the closing quote of the text at `opening`, or the last index if there is none."""
    at = opening
    for _ in range(max_escaped):
        at = content.find(b'"', at + 1)
        if at < 0:
            return len(content) - 1
        before = content[max(opening, at - MAX_BACKSLASHES) : at]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return at
    raise RemainderTooLarge
