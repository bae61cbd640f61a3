"""The front door: HTTP only. Authenticate, validate, record, read back; it never loads torch."""
