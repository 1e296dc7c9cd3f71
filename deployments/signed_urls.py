"""Signed urls: a file opens without an API key until the url expires. Video players and chats cannot send headers."""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass

STEPS = 4
"""The expiry is rounded down to a multiple of `ttl_s / STEPS`, so that consecutive polls return the same url."""


@dataclass(frozen=True)
class Signer:
    """Signs keys of the output store with HMAC-SHA256. Every process with the same secret can verify a signature."""

    secret: bytes
    ttl_s: int

    def expiry(self) -> int:
        """When a url signed now expires, in seconds since the epoch. At most `ttl_s` from now, at least 3/4 of it."""
        step = max(1, self.ttl_s // STEPS)
        return int(time.time() + self.ttl_s) // step * step

    def sign(self, key: str, expires_at: int) -> str:
        """The signature of a file's key and its expiry, as unpadded base64url."""
        digest = hmac.digest(self.secret, f"{key}\n{expires_at}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def find_problem(self, key: str, expires: str, signature: str) -> str | None:
        """Check the query parameters of a signed url. Returns a message for the client, or None when they are valid."""
        if not (expires.isascii() and expires.isdigit() and len(expires) < 12):  # noqa: PLR2004
            return "the url has no valid `expires`; use the task's `url` unchanged"
        if not hmac.compare_digest(self.sign(key, int(expires)).encode(), signature.encode()):
            return "the signature of the url is not valid; use the task's `url` unchanged"
        if int(expires) < time.time():
            return "the url has expired; poll its task for a new one"
        return None


@dataclass(frozen=True)
class UrlBuilder:
    """Builds the urls of one answer. With a signer and an expiry, every url is signed."""

    base_url: str
    signer: Signer | None = None
    expires_at: int | None = None

    def url_for(self, key: str) -> str:
        """The url of the file `key` in the output store."""
        if self.signer is None or self.expires_at is None:
            return f"{self.base_url}/{key}"
        signature = self.signer.sign(key, self.expires_at)
        return f"{self.base_url}/{key}?expires={self.expires_at}&signature={signature}"


def make_url_builder(base_url: str, signer: Signer | None) -> UrlBuilder:
    """Make a builder for urls that begin with `base_url`; they are signed when there is a `signer`."""
    return UrlBuilder(base_url, signer, None if signer is None else signer.expiry())
