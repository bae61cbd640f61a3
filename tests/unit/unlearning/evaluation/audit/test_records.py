"""Records of shadow models: what is written is read, and nothing else is."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tests.unit.unlearning.evaluation.audit.populations import record
from unlearning.errors import NonFinite, OptionOutOfRange, ShapeError
from unlearning.evaluation.audit import MalformedRecord, ShadowRecord, logit_scaled_confidence


def written(one: ShadowRecord) -> bytes:
    buffer = BytesIO()
    one.save(buffer)
    return buffer.getvalue()


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    one = record("unlearned", 3, logits=np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32))
    one.save(tmp_path / "shadow.npz")
    again = ShadowRecord.load(tmp_path / "shadow.npz")
    for name in ("population", "index", "seed", "samples", "retain_accuracy", "test_accuracy"):
        assert getattr(again, name) == getattr(one, name)
        assert type(getattr(again, name)) is type(getattr(one, name))
    for name in ("logits", "labels", "z_logits", "z_labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
        assert getattr(again, name).dtype == getattr(one, name).dtype


def test_equal_records_have_equal_bytes() -> None:
    assert written(record("retrained", 1)) == written(record("retrained", 1))
    assert written(record("retrained", 1)) != written(record("retrained", 2))


def test_the_confidences_are_those_of_the_outputs() -> None:
    one = record("unlearned", 0)
    np.testing.assert_array_equal(one.phi, logit_scaled_confidence(one.logits, one.labels))
    np.testing.assert_array_equal(one.z_phi, logit_scaled_confidence(one.z_logits, one.z_labels))


def archive(**changes: object) -> bytes:
    one = record("unlearned", 0)
    names = (
        "population",
        "index",
        "seed",
        "samples",
        "logits",
        "labels",
        "z_logits",
        "z_labels",
        "retain_accuracy",
        "test_accuracy",
    )
    fields = {name: getattr(one, name) for name in names} | {"format": 1} | changes
    buffer = BytesIO()
    np.savez(buffer, **{name: value for name, value in fields.items() if value is not None})
    return buffer.getvalue()


def plain_array() -> bytes:
    buffer = BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


FOREIGN = {
    "nothing": b"",
    "text": b"not an archive",
    "a bare array": plain_array(),
    "cut off": written(record("unlearned", 0))[:-200],
    "objects inside": archive(samples=np.array([{"a": 1}], dtype=object)),
    "a field missing": archive(z_labels=None),
    "a field more": archive(extra=1),
    "another format": archive(format=2),
    "a vector as index": archive(index=np.zeros(3, np.int64)),
    "words as outputs": archive(logits=np.full((20, 3), "a")),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_record_is_refused(case: str) -> None:
    with pytest.raises(MalformedRecord, match="Expected the record of a shadow model"):
        ShadowRecord.load(BytesIO(FOREIGN[case]))


def test_a_flipped_bit_is_noticed() -> None:
    content = bytearray(written(record("unlearned", 0)))
    content[content.index(b"logits.npy") + 300] ^= 1
    with pytest.raises(MalformedRecord):
        ShadowRecord.load(BytesIO(content))


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ShadowRecord.load(tmp_path / "none.npz")


def test_fields_that_mean_nothing_are_refused() -> None:
    with pytest.raises(OptionOutOfRange, match="population"):
        record("original", 0)  # type: ignore[arg-type]
    with pytest.raises(OptionOutOfRange, match="index"):
        record("unlearned", 0, index=-1)
    with pytest.raises(OptionOutOfRange, match="test_accuracy"):
        record("unlearned", 0, test_accuracy=1.2)
    with pytest.raises(OptionOutOfRange, match="retain_accuracy"):
        record("unlearned", 0, retain_accuracy=float("nan"))
    with pytest.raises(ShapeError):
        record("unlearned", 0, labels=np.zeros(19, np.int64))
    with pytest.raises(NonFinite):
        record("unlearned", 0, z_logits=np.full((12, 3), np.nan))
