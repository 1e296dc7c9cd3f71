"""Logs, traces and metrics of the deployments."""
