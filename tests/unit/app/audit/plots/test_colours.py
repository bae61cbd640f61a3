"""Colours can be seen: on light and on dark, and text on what it stands on."""

from itertools import combinations

import pytest

from app.audit.plots.colours import ALLOWED, INK, LOOKS, PAPER, VERMILION, contrast, heat, ink_on

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def seen_without_green_cones(colour: tuple[int, int, int]) -> tuple[float, ...]:
    """Deuteranopia, by the matrix of Machado, Oliveira and Fernandes (2009)."""
    matrix = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
    return tuple(sum(weight * part for weight, part in zip(row, colour, strict=True)) for row in matrix)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast(WHITE, WHITE) == 1
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("colour", [*(look.colour for look in LOOKS.values()), ALLOWED, VERMILION])
def test_every_colour_is_visible_on_light_and_on_dark(colour: str) -> None:
    assert contrast(rgb(colour), WHITE) >= 3
    assert contrast(rgb(colour), BLACK) >= 3


def test_models_differ_in_more_than_colour_and_stay_apart_for_the_colour_blind() -> None:
    assert len({(look.shape, look.dash) for look in LOOKS.values()}) == len(LOOKS)
    for one, other in combinations([seen_without_green_cones(rgb(look.colour)) for look in LOOKS.values()], 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 60


@pytest.mark.parametrize("percent", range(101))
def test_text_on_a_heat_map_can_be_read_at_every_shade(percent: int) -> None:
    share = percent / 100
    assert ink_on(share) in {INK, PAPER}
    assert contrast(rgb(ink_on(share)), rgb(heat(share))) >= 4.5


def test_larger_shares_are_darker() -> None:
    shades = [contrast(rgb(heat(percent / 100)), WHITE) for percent in range(101)]
    assert shades == sorted(shades)
    assert shades[0] < 1.2
    assert shades[-1] > 10
