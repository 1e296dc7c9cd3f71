"""Webhooks: the end of a task, told to the url that its client named."""
