"""Reads the command line of a raylet, Ray's own process on each node."""

import re

NODE_ID = re.compile(r" --node_id=(\w+)(?= |$)")


def find_node_id(command_line: str) -> str | None:
    """The id of the raylet's node, or None when the command line names none."""
    found = NODE_ID.search(command_line)
    return found[1] if found else None
