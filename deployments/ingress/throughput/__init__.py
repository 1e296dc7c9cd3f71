"""Estimates when a task ends, from recently completed tasks."""
