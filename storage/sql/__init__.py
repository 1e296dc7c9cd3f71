"""The SQL implementation of the task store, with one module per caller."""
