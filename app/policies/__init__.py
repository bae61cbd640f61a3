"""Policies of a tenant's own: written once, versioned, never edited."""
