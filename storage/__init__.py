"""Stores of tasks, input files and output files. Does not import Ray or an HTTP framework."""
