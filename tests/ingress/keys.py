"""Two tenants with a key each, and requests in the name of one of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from deployments.settings.api_keys import hash_key
from tests.ingress.conftest import Box

ALICE, BOB = "ltx2_alices-key", "ltx2_bobs-key"


def record(name: str, key: str, **bounds: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hash_key(key), **bounds}


KEYS = [record("alice", ALICE), record("bob", BOB)]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextlib.contextmanager
def speaking_as(box: Box, key: str) -> Iterator[Box]:
    """All requests in this context carry the key."""
    box.client.headers.update(bearer(key))
    yield box
    del box.client.headers["Authorization"]
