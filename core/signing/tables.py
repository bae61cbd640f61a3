"""Every public key this service ever signed with. Private keys never come near the database."""

from datetime import datetime

from sqlalchemy import LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base


class SigningKey(Base):
    """A public key from a moment on. A later key of the same use says until when this one signs along."""

    __tablename__ = "signing_keys"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(256))
    use: Mapped[str] = mapped_column(String(16))
    public: Mapped[bytes] = mapped_column(LargeBinary(33))
    valid_from: Mapped[datetime]
    previous_until: Mapped[datetime | None]
    """When the key that it replaces stops signing; empty for the first of its use."""
