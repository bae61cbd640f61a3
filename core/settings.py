"""The only reader of the environment: every setting, its default and its unit.

Each field is set by an environment variable with the prefix `EXPUNGE_`, for example `EXPUNGE_DATABASE_URL`.
"""

from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.deadlines.periods import WorkingDays

MIB = 1024 * 1024


def _seconds(value: object) -> object:
    """The environment holds text, and a bare number in it means seconds."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds)]
"""A time span; in the environment a number of seconds or an ISO 8601 duration."""


class Settings(BaseSettings):
    """What an operator can choose."""

    model_config = SettingsConfigDict(env_prefix="EXPUNGE_", env_file=None, extra="ignore", frozen=True)

    data_dir: Path = Field(
        Path("expunge-data"),
        description="Folder of the artifact store and, by default, of SQLite.",
    )
    database_url: str = Field("", description="SQLAlchemy URL; default: SQLite in data_dir.")
    redis_url: SecretStr | None = Field(None, description="The doorbell's Redis; unset: workers poll the database.")
    dataset_root: Path | None = Field(None, description="Folder below which data sets may be named by path.")

    signing_keys: Path | None = Field(
        None, description="File of signing keys; default: signing-keys.json in data_dir. Keep it off the database host."
    )
    checkpoint_interval: Duration = Field(
        timedelta(seconds=10), description="How often a grown ledger is signed, at most."
    )
    rechecked_entries: int = Field(
        2000, ge=0, description="Old ledger entries that an API process reads again per checkpoint interval; 0: none."
    )
    witness_keys: str = Field("", description="Public keys of witnesses whose cosignatures are taken, space-separated.")

    host: str = Field("127.0.0.1", description="Address that `expunge serve` binds.")
    port: int = Field(
        8080,
        ge=0,
        le=65535,
        description="Port that `expunge serve` binds; 0: a free one.",
    )
    allow_anonymous_loopback: bool = Field(
        False,
        description="Serve callers on a loopback address without an API key; set by `expunge serve` on loopback.",
    )
    environment: str = Field("live", pattern=r"^[a-z]{2,10}$", description="Middle part of new API keys.")
    docs: bool = Field(True, description="Serve the interactive API documentation.")

    max_body_bytes: int = Field(1 * MIB, gt=0, description="Largest JSON body.")
    max_weights_bytes: int = Field(4096 * MIB, gt=0, description="Largest weights upload.")
    max_dataset_bytes: int = Field(8192 * MIB, gt=0, description="Largest data set file, packed and unpacked.")

    subject_retention: Duration | None = Field(
        None,
        gt=timedelta(0),
        description=(
            "How long after a request ended its key and personal data are destroyed, as P90D; unset: only when asked."
        ),
    )
    deadline_warning: Duration = Field(
        timedelta(days=7),
        ge=timedelta(0),
        description="How long before an answer is due the ledger says that it is near.",
    )
    deadline_on_working_days: bool = Field(
        False, description="Whether what would be due at a weekend or on a holiday is due on the next working day."
    )
    holidays: str = Field("", description="Days that are no working days, as 2026-12-25, space-separated.")
    upkeep_interval: Duration = Field(
        timedelta(minutes=1), gt=timedelta(0), description="How often deadlines and retention periods are looked at."
    )

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the mathematics runs.")
    torch_threads: int = Field(0, ge=0, description="Threads of the mathematics; 0: one per core.")
    keep_runner_warm: bool = Field(
        True,
        description="Keep one started, unused job process ready beside the worker.",
    )

    purge_after: Duration = Field(
        timedelta(days=30), description="How long after a publication its parents' weights and images are kept."
    )
    relearning_guard: Literal["refuse", "flag"] = Field(
        "refuse", description="What becomes of an upload that knows a class deleted from its lineage."
    )
    guard_samples: bool = Field(
        True, description="Measure uploads with the test images of deleted classes, as long as they are kept."
    )
    guard_prototypes: bool = Field(
        False,
        description="Keep means of a few images each at a deletion, to measure uploads with once the images are gone.",
    )

    lease_ttl: Duration = Field(timedelta(seconds=30), description="A job whose lease is older is taken over.")
    heartbeat_interval: Duration = Field(timedelta(seconds=7), description="How often a worker renews its lease.")
    reap_interval: Duration = Field(timedelta(seconds=3), description="How often expired leases are looked for.")
    poll_interval: Duration = Field(
        timedelta(seconds=0.5),
        description="How often an idle worker without Redis looks.",
    )
    ring_interval: Duration = Field(
        timedelta(seconds=2),
        description="How often the dispatcher looks for waiting jobs.",
    )
    ring_again_after: Duration = Field(timedelta(seconds=10), description="When an unanswered job is rung for again.")
    retry_backoff: Duration = Field(timedelta(seconds=10), description="Wait before the second and later takeovers.")
    job_deadline: Duration = Field(timedelta(hours=1), description="A job that runs longer is killed.")
    max_attempts: int = Field(3, ge=1, description="Attempts before a job that keeps dying is failed.")

    @model_validator(mode="before")
    @classmethod
    def _default_database(cls, values: dict[str, object]) -> dict[str, object]:
        if not values.get("database_url"):
            folder = Path(str(values.get("data_dir") or cls.model_fields["data_dir"].default))
            values = {
                **values,
                "database_url": f"sqlite:///{folder.resolve() / 'expunge.db'}",
            }
        return values

    @model_validator(mode="after")
    def _check_lease(self) -> "Settings":
        if self.heartbeat_interval * 2 > self.lease_ttl:
            msg = (
                "Expected lease_ttl of at least twice heartbeat_interval, "
                f"got {self.lease_ttl} and {self.heartbeat_interval}."
            )
            raise ValueError(msg)
        return self

    @field_validator("holidays")
    @classmethod
    def _check_holidays(cls, value: str) -> str:
        WorkingDays.of(moves=True, holidays=value.split())
        return value

    @field_validator("witness_keys")
    @classmethod
    def _check_witnesses(cls, value: str) -> str:
        if value.split():
            from core.signing.notes import COSIGNATURE, PublicKey  # noqa: PLC0415 few settings name witnesses

            for vkey in value.split():
                if PublicKey.parse(vkey).kind != COSIGNATURE:
                    msg = f"Expected a witness's key, which signs cosignatures, got {vkey}."
                    raise ValueError(msg)
        return value

    @property
    def working_days(self) -> WorkingDays:
        """On which days a deadline may end."""
        return WorkingDays.of(moves=self.deadline_on_working_days, holidays=self.holidays.split())

    @property
    def signing_keys_file(self) -> Path:
        """Where the signing keys are, if there are any."""
        return self.signing_keys or self.data_dir / "signing-keys.json"

    @property
    def artifacts_dir(self) -> Path:
        """Where the local artifact store keeps its blobs."""
        return self.data_dir / "artifacts"

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.database_url.startswith("sqlite")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
