"""Calls between deployments go by handles, which mypy does not check: each method is there, and takes as much."""

import ast
import inspect
from collections.abc import Iterator

from deployments.dispatcher.deployment import Dispatcher
from deployments.encoder.deployment import Encoder
from deployments.generator.deployment import Generator
from tests.product import modules, nodes

DEPLOYMENTS = {"_dispatcher": Dispatcher, "_encoder": Encoder, "_generator": Generator}
"""The class behind each attribute that holds a handle."""


def calls() -> Iterator[tuple[str, str, int]]:
    """The handle, the method and the number of arguments of each `self.<handle>.<method>.remote(...)`."""
    for path in modules():
        for node in nodes(path):
            match node:
                case ast.Call(
                    func=ast.Attribute(ast.Attribute(ast.Attribute(attr=handle), method), "remote"), args=args
                ):
                    yield handle, method, len(args)


def test_each_call_by_a_handle_fits_a_method_of_its_deployment() -> None:
    found = sorted(set(calls()))
    assert {handle for handle, _, _ in found} == set(DEPLOYMENTS)
    for handle, method, arguments in found:
        inspect.signature(getattr(DEPLOYMENTS[handle], method)).bind(None, *range(arguments))
