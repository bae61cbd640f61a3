"""Training from scratch without some classes: the trainer, its checkpoints, and the check of what came out."""
