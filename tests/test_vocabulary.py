"""Identifiers and file names of the product use the field's words. CONTRIBUTING.md says why."""

import re
from pathlib import Path

import pytest

from tests.product import ROOT, modules, nodes

PRIVATE_WORDS = {
    "bed": "sleep_mode",
    "breather": "retry_delay",
    "census": "queue_counts",
    "door": "middleware",
    "hearing": "progress",
    "house": "maintenance",
    "keyring": "key_store",
    "knob": "setting",
    "lane": "delivery_group, or stream",
    "manner": "retry_policy",
    "neighbour": "other_node",
    "picture": "image",
    "presence": "replica_status",
    "residence": "model_manager",
    "rooms": "context",
    "seat": "limit",
    "sound": "audio",
    "speedup": "optimization",
    "talk": "operation",
    "verdict": "decision",
}
"""Former project words, and the standard term for each."""


def words_of(identifier: str) -> set[str]:
    """The words of a name in snake_case or CamelCase, in lower case and without a plural s."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)
    return {word for part in parts for word in (part.lower(), part.lower().removesuffix("s"))}


def identifiers(path: Path) -> set[str]:
    """The names that a module binds or uses, and its own name."""
    found = {path.stem}
    for node in nodes(path):
        for field in ("name", "id", "attr", "arg", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return found


MODULES = modules()
SCRIPTS = sorted((ROOT / "deployments/ingress/static").rglob("*.js"))


@pytest.mark.parametrize("word", PRIVATE_WORDS)
def test_no_private_word_is_an_identifier_or_a_file_name(word: str) -> None:
    assert MODULES
    used = [(path.relative_to(ROOT), name) for path in MODULES for name in NAMES[path] if word in words_of(name)]
    used += [(path.relative_to(ROOT), path.stem) for path in SCRIPTS if word in words_of(path.stem)]
    assert not used, f"say {PRIVATE_WORDS[word]} in place of {word}"


def test_words_are_told_apart_in_both_cases() -> None:
    assert words_of("ReplicaStatus") == {"replica", "status", "statu"}
    assert words_of("_keep_lanes") == {"keep", "lanes", "lane"}
    assert words_of("HTTPServer2") == {"http", "server"}


NAMES = {path: identifiers(path) for path in MODULES}
