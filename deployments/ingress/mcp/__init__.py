"""The Model Context Protocol: AI agents call this server's tools at /mcp."""
