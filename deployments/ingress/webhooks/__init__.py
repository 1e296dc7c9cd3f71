"""Webhooks: the server sends a message to the client's `webhook_url` when a task ends."""
