"""What a verifier brings along: never taken from the evidence itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.signing.notes import PublicKey


@dataclass(frozen=True)
class Trust:
    """Pinned keys, and what the evidence is to be compared with."""

    keys: Sequence[PublicKey] = ()
    checkpoints: Sequence[str] = field(default=())
    """Signed checkpoints kept from earlier."""
    request: bytes | None = None
    """The request as it was sent, for a receipt or a bundle."""
    request_id: str | None = None
    """Which request a bundle must be about."""
    weights_sha256: str | None = None
    """Digest of the weights at hand, hex."""
