"""`expunge selftest`: the gate judged by models whose right verdict is known in advance."""
