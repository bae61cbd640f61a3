"""Jobs of kind `purge`: remove what still holds the classes of a published deletion."""
