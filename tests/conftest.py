"""Plugins and fixtures for all tests."""

import gc

import pytest

from tests.process_reaper import pytest_configure, pytest_unconfigure

__all__ = ["pytest_configure", "pytest_unconfigure"]


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> None:
    """Hide what earlier modules left from the garbage collector. Every model that is closed runs it over the heap."""
    gc.collect()
    gc.freeze()
