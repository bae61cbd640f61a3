"""API keys: made by the CLI, checked on every request."""
