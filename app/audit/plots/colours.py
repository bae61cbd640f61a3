"""Colours that the colour-blind can tell apart, on light and on dark.

The three of the models are from Okabe and Ito, "Color universal design", 2008; each has a contrast of at least 3 to 1
with white and with black, and never stands alone: models also differ by shape and dash.
"""

from dataclasses import dataclass

Rgb = tuple[int, int, int]

BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
ALLOWED = GREEN
"""Where an interval must lie."""
LIGHTEST, DARKEST = (240, 244, 249), (8, 48, 92)
"""Ends of the heat maps' ramp."""
# Nothing but black and white reaches a contrast of 4.5 on every shade in between.
INK, PAPER = "#000000", "#ffffff"


@dataclass(frozen=True)
class Look:
    """How one model is drawn everywhere."""

    words: str
    colour: str
    shape: str
    """"ring", "disc" or "diamond"."""
    dash: str | None


LOOKS: dict[str, Look] = {
    "original": Look("before", VERMILION, "ring", "7 4"),
    "unlearned": Look("after", BLUE, "disc", None),
    "reference": Look("retrained reference", GREEN, "diamond", "2 3"),
}


def heat(share: float) -> str:
    """The colour of a share in [0, 1]; opaque, so that it is the same on every background.

    It grows with the root of the share: of a confusion matrix the small shares are what matters.
    """
    return _hex(_mixed(share))


def ink_on(share: float) -> str:
    """The colour of text on `heat(share)`: the one with more contrast."""
    ground = _mixed(share)
    return max((INK, PAPER), key=lambda ink: contrast(_rgb(ink), ground))


def contrast(one: Rgb, other: Rgb) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _mixed(share: float) -> Rgb:
    depth = share**0.5
    first, second, third = (round(low + depth * (high - low)) for low, high in zip(LIGHTEST, DARKEST, strict=True))
    return first, second, third


def _luminance(colour: Rgb) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (side / 255 for side in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(colour: Rgb) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def _rgb(text: str) -> Rgb:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
