"""docs/api.md lists the routes that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
WORD = re.compile(r"\b[A-Z]{3,}\b|(?<=[ `])/[^`]*")


def named_routes() -> Iterator[tuple[str, str]]:
    """Method and path of each row. In a cell, a path without a method has the methods of the previous path."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        methods: list[str] = []
        ended = False
        for word in WORD.findall(line.split("|")[1]) if line.startswith("| `") else []:
            if not word.startswith("/"):
                methods, ended = ([word] if ended else [*methods, word]), False
                continue
            ended = True
            yield from ((method, word) for method in methods)


def test_the_page_of_the_api_names_every_route_and_no_other(box):
    described = box.client.get("/openapi.json").json()["paths"]
    there = {(method.upper(), path) for path, methods in described.items() for method in methods}
    beside = {("GET", "/"), ("GET", "/docs"), ("HEAD", "/outputs/{filename}")}
    beside |= {("POST", "/mcp"), ("PUT", "/uploads/{upload_id}")}  # MCP lists its own tools
    assert set(named_routes()) - beside == there
