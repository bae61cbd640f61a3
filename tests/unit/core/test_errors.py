"""What may be said of an error in the log: where it broke, and nothing that was being worked on."""

import io
import json

import pytest

from core import log
from core.errors import Conflict, where_it_broke
from models_store.errors import ArchiveOverLimit, MalformedDataset, UnknownDatasetLabel

SECRET = "Erika Mustermann"


def label(names: dict[str, str]) -> str:
    return names[SECRET]


def look_up() -> None:
    try:
        label({})
    except KeyError as error:
        raise ValueError(f"Expected a number, got {SECRET}") from error


def broken() -> BaseException:
    """An error with a label in its message, and in that of its cause."""
    with pytest.raises(ValueError, match=SECRET) as raised:
        look_up()
    return raised.value


def test_types_and_places_are_told_and_words_are_not() -> None:
    told = where_it_broke(broken())
    assert "Erika" not in told
    assert [line.split(":")[0] for line in told.splitlines() if not line.startswith("  ")] == [
        "ValueError",
        "after KeyError",
    ]
    assert all(f" in {name}" in told for name in ("broken", "look_up", "label"))


def test_a_refusal_keeps_its_sentence_because_it_was_written_for_callers() -> None:
    assert (
        where_it_broke(Conflict("Expected a version that is ready.")) == "Conflict: Expected a version that is ready."
    )


def test_a_refusal_that_quotes_a_label_or_a_file_keeps_its_type_only() -> None:
    for kind in (UnknownDatasetLabel, MalformedDataset, ArchiveOverLimit):
        assert where_it_broke(kind(f"Expected a label of the model, got {SECRET!r}.")) == kind.__name__


def test_a_line_of_the_log_names_no_class_even_when_an_error_does(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.StringIO()
    monkeypatch.setattr("sys.stderr", lines)
    log.configure()
    log.get_logger("test").error("job.broke", exc_info=broken())
    assert "Erika" not in lines.getvalue()
    assert "ValueError" in json.loads(lines.getvalue())["exception"]
