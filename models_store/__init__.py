"""What we keep: models and their versions, data sets, and the bytes of both."""
