"""Command-line entry points: `python -m deployments.cli.<module>`."""
