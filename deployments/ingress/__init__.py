"""The way in: HTTP requests become task rows, rows become answers."""
