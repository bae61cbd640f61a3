"""The database: engine settings, transactions, column types and migrations."""
