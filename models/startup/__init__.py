"""Work done ahead of the first task: imports and file prefetch."""
