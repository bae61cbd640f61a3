"""Shared ground: what the API process and the worker process must agree on. No web, no torch."""
