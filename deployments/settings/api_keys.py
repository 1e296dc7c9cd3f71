"""Who may use the server: one record for each API key. The key itself stands nowhere, only its hash."""

import hashlib
from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel


class ApiKey(SettingsModel):
    """One key, and what its owner may take. `python -m deployments.cli.admin new-key NAME` makes such a record.

    Two records of one name are two keys of one owner: so a key is changed without a gap.
    """

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="Who it, and so its tasks, belong to.")
    ]
    sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in hexadecimal. Never the key.")
    ]
    max_queued: Annotated[
        int | None, Field(ge=1, description="Tasks of it that may wait; null leaves only ingress.max_queued.")
    ] = None
    max_running: Annotated[
        int | None, Field(ge=1, description="Tasks of it that are worked on at once; null for no bound.")
    ] = None
    weight: Annotated[
        float, Field(ge=0.01, le=100, description="Its share of the GPUs against the others that wait.")
    ] = 1.0


def hash_key(key: str) -> str:
    """What the settings hold in place of `key`. No salt: a key is random, so nobody can try them all."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_keys(keys: tuple[ApiKey, ...]) -> None:
    """Raise ValueError for records that contradict each other."""
    hashes = [each.sha256 for each in keys]
    if len(set(hashes)) < len(hashes):
        raise ValueError("api_keys holds one sha256 twice; each key is one record")
    bounds: dict[str, ApiKey] = {}
    for each in keys:
        known = bounds.setdefault(each.name, each)
        if known.model_copy(update={"sha256": each.sha256}) != each:
            raise ValueError(f"api_keys of one name must have the same bounds and weight; those of {each.name} differ")
