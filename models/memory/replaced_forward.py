"""Replaces the `forward` of a module so that the replacement stays, also on a module that is streamed."""

from collections.abc import Callable
from typing import Any


class ReplacedForward:
    """Calls the original `forward` of a module whose `forward` it has replaced.

    At the end of the first call of a streamed module, diffusers removes the hook that has noted the order of the
    layers. It restores the `forward` from before that hook, and so drops every later replacement (0.42).
    """

    def __init__(self, module: Any, replacement: Callable[..., Any]) -> None:
        self._module = module
        self._replacement = replacement
        self._original = module.forward
        module.forward = replacement

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the original, and put the replacement back if the call has dropped it."""
        outermost = self._module.forward == self._replacement
        result = self._original(*args, **options)
        if outermost and self._module.forward != self._replacement:
            self._original, self._module.forward = self._module.forward, self._replacement
        return result
