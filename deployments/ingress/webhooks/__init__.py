"""Webhooks: send the end of a task to the URL that its client named."""
