"""`expunge ...`: the door for people. Commands import what they need when they run, so that help comes at once."""
