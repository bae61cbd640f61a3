"""Evidence for third parties: attestations of what was published, bundles of everything that proves a request."""
