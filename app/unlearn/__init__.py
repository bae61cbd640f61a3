"""Requests to delete classes: submit, follow, cancel, retry."""
