"""Work done before the first task: imports and file prefetch."""
