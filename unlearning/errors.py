"""What the engine refuses, and why: every error it raises on purpose belongs to the family `UnlearningError`."""

from __future__ import annotations

from collections.abc import Iterable


class UnlearningError(Exception):
    """The engine refuses this input."""


class ShapeError(UnlearningError):
    """A tensor or an array has another shape than the operation needs."""

    def __init__(self, what: str, expected: str, got: Iterable[int]) -> None:
        super().__init__(f"Expected {what} of shape {expected}, got {tuple(got)}.")


class OptionOutOfRange(UnlearningError):
    """An option lies outside the range in which the mathematics means anything."""

    def __init__(self, option: str, expected: str, got: object) -> None:
        super().__init__(f"Expected {option} to be {expected}, got {got!r}.")


class BadBatch(UnlearningError):
    """The loader yielded something that is no batch of inputs."""

    def __init__(self, got: object) -> None:
        super().__init__(f"Expected a tensor, or a tuple that starts with one, as a batch of inputs; got {got}.")


class EmptySide(UnlearningError):
    """One side of the comparison (retain, forget, validation, members, ...) has no samples."""

    def __init__(self, side: str) -> None:
        super().__init__(f"Expected at least one sample on the {side} side, got none.")


class SampleCountMismatch(UnlearningError):
    """The stream did not hold as many samples as were announced, so its positions were sampled at a wrong rate."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"Expected {expected} samples in the stream, as announced, got {got}.")


class NonFinite(UnlearningError):
    """NaN or infinity appeared; the message names the layer where it was first seen."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(f"Expected finite numbers, got NaN or infinity in {where}.")


class AllZeroActivations(UnlearningError):
    """A layer saw nothing but zeros, so its second moment has no direction to keep or to remove."""

    def __init__(self, layer: str, side: str) -> None:
        self.layer = layer
        super().__init__(f"Expected activations at the input of '{layer}' on the {side} side, got only zeros.")


class NothingToProject(UnlearningError):
    """The model multiplies its activations by no parameter that the update could change, or not where it must be."""

    def __init__(self, model: str, does: str = "multiplies its activations by a parameter") -> None:
        super().__init__(f"Expected a model that {does}; {model} has none.")


class NotRefittable(UnlearningError):
    """None of the layers that a refit could change gives the model's outputs, so it could not make a class go."""

    def __init__(self, refittable: Iterable[str]) -> None:
        super().__init__(
            "Expected a layer that gives the model's outputs, a shift per sample and a factor aside, among those that "
            f"can be refitted, got {sorted(refittable)}; the projection (erase_classes, method 'paper') needs none."
        )


class UnknownLayer(UnlearningError):
    """A layer was asked for that the model does not have, or that cannot be projected."""

    def __init__(self, unknown: Iterable[str], known: Iterable[str]) -> None:
        super().__init__(f"Expected names among {sorted(known)}, got {sorted(unknown)}.")


class StatisticsMismatch(UnlearningError):
    """The statistics of the two sides, or of statistics and model, describe different layers."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Expected statistics that match layer by layer: {what}.")


class ClassIndexOutOfRange(UnlearningError):
    """A class index that the labels or the outputs do not have."""

    def __init__(self, index: object, num_classes: int) -> None:
        super().__init__(f"Expected a class index between 0 and {num_classes - 1}, got {index}.")


class NoRetainedClass(UnlearningError):
    """Every class would be forgotten: nothing is left to retain."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(f"Expected at least one retained class, got a request for all {num_classes}.")


class ClassWithoutSamples(UnlearningError):
    """A class to forget has no sample to learn its directions from."""

    def __init__(self, index: int) -> None:
        super().__init__(f"Expected samples of class {index}, got none.")


class ReferenceKnowsAsMuch(UnlearningError):
    """The reference's features tell the forgotten classes as well as the original's: nothing can be related to that."""

    def __init__(self, bits: float) -> None:
        super().__init__(
            f"Expected more about the forgotten classes in the original than in the reference, "
            f"got a difference of {bits:.3g} bits."
        )


class WeightsDoNotFit(UnlearningError):
    """The edited weights belong to a model with other parameters."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Expected a model with the same parameters as the one that was edited: {what}.")


class NotRepresentable(UnlearningError):
    """A parametrised weight cannot take the value that the update asks for."""

    def __init__(self, weight: str, reason: str) -> None:
        self.weight, self.reason = weight, reason
        super().__init__(f"Expected a parametrisation of '{weight}' that can take any value: {reason}.")


class ForwardFailed(UnlearningError, RuntimeError):
    """The model refuses the batch: its shape, dtype or device does not fit."""

    def __init__(self, batch: str, error: Exception) -> None:
        lines = str(error).splitlines() or [type(error).__name__]
        super().__init__(f"Expected a model that takes a batch of {batch}; its forward pass raised: {lines[0]}")
