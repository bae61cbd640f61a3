"""The settings of a command: those of the environment, and what its options say."""

from pathlib import Path

from core.settings import Settings, get_settings


def chosen_settings(data_dir: Path | None = None, *, threads: int | None = None) -> Settings:
    """The settings a command runs with.

    Args:
        data_dir: be self-contained in this folder: database and artifacts inside it, no Redis, whatever the environment
            says of them.
        threads: of the mathematics; None leaves it to the environment.
    """
    settings = get_settings()
    if threads is not None:
        settings = settings.model_copy(update={"torch_threads": threads})
    if data_dir is None:
        return settings
    folder = data_dir.resolve()
    return settings.model_copy(
        update={"data_dir": folder, "database_url": f"sqlite:///{folder / 'expunge.db'}", "redis_url": None}
    )
