"""What a published deletion means for everything akin to it: versions that still hold the class, their copies and kin.

A version is *quarantined* when it still holds a class that a request deleted: workers may read it, callers may not.
It is *purged* once its bytes are gone from the store. Both keep the row, so that the history can be told.
"""
