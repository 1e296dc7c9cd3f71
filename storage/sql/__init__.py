"""The task store in SQL: one module for each side that calls it."""
