"""Estimates when a task ends, from recently finished tasks."""
