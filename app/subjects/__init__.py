"""Data subjects: which requests name one, and the end of everything that does."""
