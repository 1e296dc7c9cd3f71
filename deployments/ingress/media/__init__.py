"""Reads clients' audio and video in a child process, and writes what the task keeps of them."""
