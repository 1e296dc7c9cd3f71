"""HTTP entry point: turns requests into task rows, and task rows into responses."""
