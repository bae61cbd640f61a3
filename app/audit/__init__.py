"""Reading the ledger, and the report of a request."""
