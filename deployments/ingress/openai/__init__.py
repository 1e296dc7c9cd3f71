"""Routes of OpenAI's videos API."""
