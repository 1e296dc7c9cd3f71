"""What the fuzz tests of the APIs share: how much they try, and JSON of any shape."""

from collections.abc import Collection
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FUZZ = settings(
    max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def json_values(near_misses: Collection[str], keys: Collection[str]) -> st.SearchStrategy[Any]:
    """Any JSON. Some texts are nearly what an API takes, and objects have keys that it knows."""
    return st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=8),
            st.sampled_from([*near_misses]),
            st.sampled_from([10**400, 1, 24, 64, 2.5]),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*keys]), inner, max_size=3)
        ),
        max_leaves=6,
    )
