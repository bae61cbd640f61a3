"""The re-learning guard: whether an upload knows a class again that was deleted from its lineage."""
