"""Which architectures may be named, and which few scalars each may be given: no torch, no import path, no code.

The names of torchvision are written out here, so that the API answers without loading it and an upgrade of torchvision
adds nothing by itself; a test compares the two.
"""

import difflib
import importlib.metadata
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from models_store.errors import InvalidArchitectureOption, UnknownArchitecture

Scalar = bool | int | float | str
ENTRY_POINT_GROUP = "expunge.architectures"
MAX_CLASSES = 100_000
MAX_OPTIONS = 16
MAX_TEXT_LENGTH = 64
MAX_MAGNITUDE = 1_000_000

_TORCHVISION = """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169 densenet201
    efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
    efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
    mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf
    regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf
    regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34
    resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
    shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn
    vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2
    wide_resnet50_2
"""
TORCHVISION: tuple[str, ...] = tuple(f"torchvision/{name}" for name in _TORCHVISION.split())
BUILT_IN: tuple[str, ...] = ("cifar/resnet18", "cifar/vgg11_bn", "expunge/small_convnet")


@dataclass(frozen=True)
class Option:
    """One scalar an architecture takes, within `minimum` and `maximum`, in whole steps of `step` if that is given."""

    kind: type[bool] | type[int] | type[float]
    minimum: float
    maximum: float
    step: int = 1

    def refusal(self, value: object) -> str | None:
        """Why a value is not taken, as "Expected ..., got ...", or None."""
        bounds = f"{self.minimum:g} to {self.maximum:g}"
        if self.kind is bool:
            # The only booleans here switch training-time heads, which a deployed classifier does not have.
            return None if value is False else f"Expected false, got {value!r:.40}."
        if self.kind is int:
            if type(value) is int and self.minimum <= value <= self.maximum and value % self.step == 0:
                return None
            return f"Expected a whole number of {bounds}, a multiple of {self.step}, got {value!r:.40}."
        if type(value) in {int, float} and self.minimum <= value <= self.maximum:  # type: ignore[operator]
            return None
        return f"Expected a number of {bounds}, got {value!r:.40}."


_PROBABILITY = Option(float, 0, 1)
_FAMILIES: tuple[tuple[tuple[str, ...], dict[str, Option]], ...] = (
    (("googlenet", "inception"), {"dropout": _PROBABILITY, "aux_logits": Option(bool, 0, 0)}),
    (("efficientnet",), {"dropout": _PROBABILITY, "stochastic_depth_prob": _PROBABILITY}),
    (("alexnet", "vgg", "squeezenet", "mnasnet", "mobilenet"), {"dropout": _PROBABILITY}),
    (("densenet",), {"drop_rate": _PROBABILITY}),
    (("convnext",), {"stochastic_depth_prob": _PROBABILITY}),
    (("swin",), {"dropout": _PROBABILITY, "attention_dropout": _PROBABILITY}),
)
_BUILT_IN_OPTIONS: dict[str, dict[str, Option]] = {
    "cifar/resnet18": {},
    "cifar/vgg11_bn": {"dropout": _PROBABILITY},
    "expunge/small_convnet": {"width": Option(int, 4, 128, step=4)},
}


@cache
def entry_points() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Architectures an operator has installed, by name; only named here, loaded by workers alone."""
    known = {*TORCHVISION, *BUILT_IN}
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return MappingProxyType({point.name: point for point in found if point.name not in known})


def architectures() -> tuple[str, ...]:
    """Every name that may be registered, sorted."""
    return tuple(sorted({*TORCHVISION, *BUILT_IN, *entry_points()}))


def options_of(name: str) -> Mapping[str, Option] | None:
    """The options of an architecture; None for an operator's own, whose factory checks them itself.

    Raises:
        UnknownArchitecture: the name is not in the catalogue.
    """
    if name in _BUILT_IN_OPTIONS:
        return _BUILT_IN_OPTIONS[name]
    if name in TORCHVISION:
        return _torchvision_options(name.removeprefix("torchvision/"))
    if name in entry_points():
        return None
    raise UnknownArchitecture(
        f"Expected an architecture of the catalogue, got {name[:80]!r}.{_suggestion(name[:80])}",
        suggestions=_nearest(name[:80]),
    )


def check_architecture(name: str, kwargs: Mapping[str, object], num_classes: int) -> None:
    """Refuse an architecture or an option that a worker would not build.

    Raises:
        UnknownArchitecture: the name is not in the catalogue; the nearest ones are suggested.
        InvalidArchitectureOption: an option is unknown or out of bounds, or the number of classes is.
    """
    options = options_of(name)
    if type(num_classes) is not int or not 2 <= num_classes <= MAX_CLASSES:
        raise InvalidArchitectureOption(f"Expected 2 to {MAX_CLASSES:,} classes, got {num_classes!r:.40}.")
    if len(kwargs) > MAX_OPTIONS:
        raise InvalidArchitectureOption(f"Expected at most {MAX_OPTIONS} options, got {len(kwargs)}.")
    for option, value in kwargs.items():
        refusal = _refuse_scalar(option, value) if options is None else _refuse_option(options, option, value)
        if refusal:
            raise InvalidArchitectureOption(f"Option {option[:40]!r} of {name}: {refusal}", option=option[:40])


def _torchvision_options(builder: str) -> Mapping[str, Option]:
    if builder.startswith("vit_"):
        # The position embedding has one row per patch, so the image is a whole number of patches wide.
        patch = int(builder.rpartition("_")[2])
        size = Option(int, patch, 1024 // patch * patch, step=patch)
        return {"image_size": size, "dropout": _PROBABILITY, "attention_dropout": _PROBABILITY}
    return next((options for prefixes, options in _FAMILIES if builder.startswith(prefixes)), {})


def _refuse_option(options: Mapping[str, Option], name: str, value: object) -> str | None:
    if name not in options:
        return f"Expected one of {', '.join(options) or 'no options'}, got an option that it does not have."
    return options[name].refusal(value)


def _refuse_scalar(name: str, value: object) -> str | None:
    if not name.isidentifier() or len(name) > MAX_TEXT_LENGTH:
        return f"Expected an identifier of at most {MAX_TEXT_LENGTH} characters."
    if isinstance(value, str):
        fits = len(value) <= MAX_TEXT_LENGTH and value.isprintable()
    else:
        fits = type(value) in {bool, int, float} and math.isfinite(value) and abs(value) <= MAX_MAGNITUDE  # type: ignore[arg-type]
    return (
        None if fits else f"Expected a boolean, a number within {MAX_MAGNITUDE:,} or a short text, got {value!r:.40}."
    )


def _nearest(name: str) -> list[str]:
    known = architectures()
    by_last_part = {full.rpartition("/")[2]: full for full in reversed(known)}
    exact = [full for full in known if full.rpartition("/")[2] == name.rpartition("/")[2].lower()]
    near = difflib.get_close_matches(name.lower(), known, n=3)
    last = difflib.get_close_matches(name.rpartition("/")[2].lower(), by_last_part, n=3)
    return list(dict.fromkeys([*exact, *near, *(by_last_part[part] for part in last)]))[:4]


def _suggestion(name: str) -> str:
    nearest = _nearest(name)
    return f" Did you mean {' or '.join(nearest)}?" if nearest else ""
