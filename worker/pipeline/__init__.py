"""An unlearning job, step by step; `runner` alone knows the order."""
