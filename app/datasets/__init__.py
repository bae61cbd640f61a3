"""Data sets: registration, upload, sealing."""
