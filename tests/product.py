"""The modules of the product, for tests that read its source."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("deployments", "ltx2_client", "models", "storage")


def modules() -> list[Path]:
    """The Python files of all packages, sorted."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def nodes(path: Path) -> Iterator[ast.AST]:
    """All nodes of a module's syntax tree."""
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))
