"""Signatures over what the service claims: keys outside the database, signed notes, DSSE envelopes."""
