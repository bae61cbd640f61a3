"""The schema's history; run by `core.db.migrate`."""
