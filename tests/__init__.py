"""The tests: unit (no network, no database), integration (real servers), e2e (real processes), gpu (a CUDA device)."""
