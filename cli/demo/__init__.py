"""`expunge demo`: one class deleted from a real classifier, over real HTTP, with every claim checked."""
