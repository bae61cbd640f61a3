"""Bytes named by their SHA-256: written once, flushed before they are announced, never changed."""

from models_store.storage.digests import check_sha256, hash_file
from models_store.storage.local import LocalStorage
from models_store.storage.protocol import OrphansRemoved, Storage, StoredBlob
from models_store.storage.writer import BlobWriter

__all__ = ["BlobWriter", "LocalStorage", "OrphansRemoved", "Storage", "StoredBlob", "check_sha256", "hash_file"]
