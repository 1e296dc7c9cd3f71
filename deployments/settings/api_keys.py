"""Settings of the API keys: one record per key. A record has the hash of the key, never the key itself."""

import hashlib
from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel


class ApiKey(SettingsModel):
    """One API key and the limits of its owner. `python -m deployments.cli.admin new-key NAME` makes such a record.

    Two records with one name are two keys of one owner, so that a key can be replaced without downtime.
    """

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="The owner of the key and its tasks.")
    ]
    sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in hexadecimal. Not the key.")
    ]
    max_queued: Annotated[
        int | None,
        Field(ge=1, description="Maximum queued tasks of this owner. null: only ingress.max_queued applies."),
    ] = None
    max_running: Annotated[
        int | None, Field(ge=1, description="Maximum tasks of this owner that run at once. null: no limit.")
    ] = None
    weight: Annotated[
        float, Field(ge=0.01, le=100, description="Share of GPU time, relative to other owners with queued tasks.")
    ] = 1.0


def hash_key(key: str) -> str:
    """The SHA-256 of `key`, in hexadecimal. Not salted: a random 256-bit key cannot be found by trying."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_keys(keys: tuple[ApiKey, ...]) -> None:
    """Raise ValueError for a duplicate key, or for different limits of one owner."""
    hashes = [each.sha256 for each in keys]
    if len(set(hashes)) < len(hashes):
        raise ValueError("api_keys has the same sha256 twice; each key needs one record")
    bounds: dict[str, ApiKey] = {}
    for each in keys:
        known = bounds.setdefault(each.name, each)
        if known.model_copy(update={"sha256": each.sha256}) != each:
            raise ValueError(f"api_keys with one name need the same limits and weight; those of {each.name} differ")
