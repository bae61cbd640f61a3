"""Models, their versions, aliases and downloads."""
