"""The append-only audit ledger: canonical leaves, hash chain, Merkle tree head."""
