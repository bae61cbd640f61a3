"""The curves of a result: read part by part, so that one that is missing or makes no sense takes no other with it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from app.schemas import Out

ROUNDING = 1e-9


def _rounded(value: Any) -> Any:
    """A share that rounding has pushed over an end, at that end."""
    is_over = isinstance(value, float) and (-ROUNDING < value < 0 or 1 < value < 1 + ROUNDING)
    return round(value) if is_over else value


Share = Annotated[float, BeforeValidator(_rounded), Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
T = TypeVar("T")


class ByModel(Out, Generic[T]):
    """The same of several models, the original or the unlearned one among them."""

    original: T | None = None
    unlearned: T | None = None
    reference: T | None = None

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        if self.original is None and self.unlearned is None:
            msg = "Expected the original or the unlearned model's, got neither."
            raise ValueError(msg)
        return self

    def given(self) -> dict[str, T]:
        """By the model's name, where there is one."""
        sides = {"original": self.original, "unlearned": self.unlearned, "reference": self.reference}
        return {name: side for name, side in sides.items() if side is not None}


class Confusion(ByModel[list[list[Count]]]):
    """Counts of test images: row = true class, column = predicted class."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        sizes = {size for matrix in self.given().values() for size in (len(matrix), *map(len, matrix))}
        if len(sizes) != 1 or 0 in sizes:
            msg = f"Expected square matrices of one size, got sides of {sorted(sizes)}."
            raise ValueError(msg)
        return self


class PerClass(ByModel[list[Share | None]]):
    """Accuracy of each class on its test images; null for a class without any."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        sizes = {len(side) for side in self.given().values()}
        if len(sizes) != 1 or 0 in sizes:
            msg = f"Expected lists of one length above 0, got {sorted(sizes)}."
            raise ValueError(msg)
        return self


class FewShot(ByModel[dict[Annotated[int, Field(ge=1)], Share | None]]):
    """Accuracy on the deleted classes' test images by the number of images that each class centre is made of."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any(value is not None for side in self.given().values() for value in side.values()):
            msg = "Expected a value, got none."
            raise ValueError(msg)
        return self


class Roc(Out):
    """Membership attack: share of hits against share of false alarms, with the hits' 95 % band."""

    fpr: list[Share] = Field(min_length=2)
    tpr: list[Share]
    low: list[Share] | None = None
    high: list[Share] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        lengths = {len(line) for line in (self.fpr, self.tpr, self.low, self.high) if line is not None}
        if len(lengths) != 1:
            msg = f"Expected lists of one length, got {sorted(lengths)}."
            raise ValueError(msg)
        if not (_rises(self.fpr) and _rises(self.tpr)):
            msg = "Expected rates that never fall."
            raise ValueError(msg)
        return self


class Layer(Out):
    """How much one layer's weights changed, as a share of their size before."""

    layer: str
    relative_change: Size | None = Field(description="Null where the layer was zero and is not any more.")


class Curves(Out):
    """What the plots are drawn from; a part that was not measured is null. No number belongs to a single image."""

    confusion: Confusion | None = None
    per_class_accuracy: PerClass | None = None
    membership_roc: Roc | None = None
    few_shot: FewShot | None = None
    layers: list[Layer] | None = Field(None, min_length=1)


def read_curves(result: Mapping[str, Any]) -> Curves:
    """The curves of a result; older results hold two of them elsewhere."""
    found = {**_older(result), **(result.get("curves") or {})}
    return Curves(**{name: part for name in Curves.model_fields if (part := _part(name, found.get(name))) is not None})


def _part(name: str, value: Any) -> Any:
    try:
        return getattr(Curves.model_validate({name: value}), name)
    except ValidationError:
        return None


def _older(result: Mapping[str, Any]) -> dict[str, Any]:
    measures = result.get("measures") or {}
    sides = {side: (measures.get(side) or {}).get("per_class_accuracy_test") for side in ("original", "unlearned")}
    edits = [one for one in result.get("edits") or [] if isinstance(one, dict)]
    return {
        "per_class_accuracy": sides,
        "layers": [{"layer": one.get("parameter"), "relative_change": one.get("relative_change")} for one in edits],
    }


def _rises(line: Sequence[float]) -> bool:
    return all(before <= after + ROUNDING for before, after in pairwise(line))
