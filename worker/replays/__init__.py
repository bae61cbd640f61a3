"""Replays: a published deletion computed again, compared with what was published, and never published itself."""
