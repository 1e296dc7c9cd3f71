"""The routes of OpenAI's videos API."""
