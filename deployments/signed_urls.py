"""Urls of files that open without a key, for a while: players and chats cannot send a header."""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass

STEPS = 4
"""An expiry is rounded down to a part of the time that a url lasts, so that polls in a row give the same url."""


@dataclass(frozen=True)
class Signer:
    """Signs names in the output store. Whoever shares the secret can check them."""

    secret: bytes
    ttl_s: int

    def expiry(self) -> int:
        """Until when a url that is signed now is good, in seconds since the epoch."""
        step = max(1, self.ttl_s // STEPS)
        return int(time.time() + self.ttl_s) // step * step

    def sign(self, key: str, expires_at: int) -> str:
        """The signature of a file's key and an expiry."""
        digest = hmac.digest(self.secret, f"{key}\n{expires_at}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def find_problem(self, key: str, expires: str, signature: str) -> str | None:
        """Why what came with a url does not open the file; None where it does."""
        if not (expires.isascii() and expires.isdigit() and len(expires) < 12):  # noqa: PLR2004
            return "the url has no valid `expires`; it must be used as the task's `url` gives it"
        if not hmac.compare_digest(self.sign(key, int(expires)).encode(), signature.encode()):
            return "the signature of the url does not fit; it must be used as the task's `url` gives it"
        if int(expires) < time.time():
            return "the url has expired; poll its task for a fresh one"
        return None


@dataclass(frozen=True)
class UrlBuilder:
    """Where files are, for one answer. With an expiry, every url is signed."""

    base_url: str
    signer: Signer | None = None
    expires_at: int | None = None

    def url_for(self, key: str) -> str:
        """The url of a file in the output store."""
        if self.signer is None or self.expires_at is None:
            return f"{self.base_url}/{key}"
        signature = self.signer.sign(key, self.expires_at)
        return f"{self.base_url}/{key}?expires={self.expires_at}&signature={signature}"


def make_url_builder(base_url: str, signer: Signer | None) -> UrlBuilder:
    """Urls that begin with `base_url`, signed from now on where there is a signer."""
    return UrlBuilder(base_url, signer, None if signer is None else signer.expiry())
