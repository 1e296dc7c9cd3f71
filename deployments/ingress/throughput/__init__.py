"""Estimates when a task ends, from tasks that ended lately."""
