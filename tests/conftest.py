"""Plugins and fixtures for all tests."""

from tests.process_reaper import pytest_configure, pytest_unconfigure

__all__ = ["pytest_configure", "pytest_unconfigure"]
