"""Private names of other packages: each has its row in the table, and each row is there and in use."""

import importlib
import re
from collections.abc import Iterator
from functools import reduce

import pytest
import torch

from models.private_apis import PRIVATE_APIS, PrivateApi
from tests.product import ROOT, modules

PRIVATE_IMPORT = re.compile(r"^\s*(?:from|import) (?:\w+\.)*_[a-z]\w*|^\s*from [\w.]+ import _[a-z]\w*", re.MULTILINE)
"""`from package._module import name`, or `from package.module import _name`."""


@pytest.mark.parametrize("api", PRIVATE_APIS, ids=lambda api: api.symbol)
def test_a_private_name_is_there_in_the_pinned_version_and_used_where_the_table_says(api: PrivateApi) -> None:
    module, _, path = api.symbol.partition(":")
    source = (ROOT / api.used_by).read_text(encoding="utf-8")
    assert re.search(rf"\b{last_name(api)}\b", source, re.IGNORECASE), f"{api.used_by} does not use it"
    if api.only_with_cuda and torch.version.cuda is None:
        return
    try:
        reduce(getattr, path.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{api.used_by} needs {api.symbol}: {api.reason} It can go when {api.remove_when}. {error}")


def test_no_other_private_name_is_used() -> None:
    assert [line for file, line in private_lines() if not any(matches(api, file, line) for api in PRIVATE_APIS)] == []


def last_name(api: PrivateApi) -> str:
    return re.split(r"[.:]", api.symbol)[-1]


def matches(api: PrivateApi, file: str, line: str) -> bool:
    names = [name for name in re.split(r"[.:]", api.symbol) if name.startswith("_")] or [last_name(api)]
    return api.used_by == file and any(name.lower() in line.lower() for name in (*names, last_name(api)))


def private_lines() -> Iterator[tuple[str, str]]:
    """The lines of the product that use a private name: ruff finds those of attributes, and they are excused."""
    for path in modules():
        for line in path.read_text(encoding="utf-8").splitlines():
            if "# noqa: SLF001" in line or PRIVATE_IMPORT.match(line):
                yield path.relative_to(ROOT).as_posix(), line.strip()
