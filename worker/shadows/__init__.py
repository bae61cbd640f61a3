"""The audit of a finished request: shadow models trained in jobs of their own, and the gathering of what they left."""
