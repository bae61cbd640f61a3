"""Recalls: the signed feed for whoever holds copies of versions that were put into quarantine."""
