"""The plots: well-formed, readable, complete, and without anything that acts or loads."""

import copy
import re
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from app.audit.curves import Confusion, Curves, FewShot, Layer, PerClass, Roc, read_curves
from app.audit.plots import class_accuracy, confusion, few_shot, gallery, layers, roc
from app.audit.plots.classes import Classes
from app.audit.plots.svg import SMALL
from tests.unit.app.reports.examples import HOSTILE, labels_of, result_of

PARTS = list(Curves.model_fields)
SIZES = [(2, (1,)), (10, (3,)), (17, (0, 16)), (100, (3, 50, 77))]
NAMES = ["class-accuracy", "confusion", "membership-roc", "few-shot", "layers"]


def classes_of(num_classes: int, deleted: tuple[int, ...], labels: list[str] | None = None) -> Classes:
    return Classes(tuple(labels or labels_of(num_classes)), frozenset(deleted))


def plots_of(num_classes: int, deleted: tuple[int, ...], labels: list[str] | None = None) -> dict[str, str]:
    curves = read_curves(result_of(num_classes, deleted))
    return {plot.name: plot.svg for plot in gallery.plots_of(curves, classes_of(num_classes, deleted, labels))}


def parsed(svg: str) -> Element:
    return fromstring(svg)  # noqa: S314 our own output


def texts(svg: str) -> list[str]:
    return [part.text or "" for part in parsed(svg).iter("{http://www.w3.org/2000/svg}text")]


def numbers(root: Element, attribute: str) -> list[float]:
    return [float(part.get(attribute, "0")) for part in root.iter() if part.get(attribute)]


@pytest.mark.parametrize(("num_classes", "deleted"), SIZES)
def test_every_plot_is_drawn_and_nothing_in_it_acts_or_loads(num_classes: int, deleted: tuple[int, ...]) -> None:
    drawn = plots_of(num_classes, deleted)
    assert list(drawn) == NAMES
    for svg in drawn.values():
        tags = {part.tag.rpartition("}")[2] for part in parsed(svg).iter()}
        assert tags <= {"svg", "title", "desc", "g", "line", "path", "rect", "circle", "text"}
        attributes = {name for part in parsed(svg).iter() for name in part.attrib}
        assert not {name for name in attributes if name.startswith("on") or name in {"style", "class", "href", "src"}}
        assert "url(" not in svg
        assert svg.count("://") == 1  # the name space


@pytest.mark.parametrize(("num_classes", "deleted"), SIZES)
def test_everything_stays_inside_and_no_text_is_small(num_classes: int, deleted: tuple[int, ...]) -> None:
    for svg in plots_of(num_classes, deleted).values():
        root = parsed(svg)
        width, height = float(root.get("width", "0")), float(root.get("height", "0"))
        assert width <= 1050
        assert height <= 800
        assert all(0 <= x <= width for name in ("x", "x1", "x2", "cx") for x in numbers(root, name))
        assert all(0 <= y <= height for name in ("y", "y1", "y2", "cy") for y in numbers(root, name))
        assert min(numbers(root, "font-size")) >= SMALL


@pytest.mark.parametrize(("num_classes", "deleted"), SIZES)
def test_ids_differ_between_the_plots_of_a_page(num_classes: int, deleted: tuple[int, ...]) -> None:
    ids = re.findall(r' id="([^"]+)"', "".join(plots_of(num_classes, deleted).values()))
    assert len(ids) == len(set(ids)) == 2 * len(NAMES)


def test_a_hostile_class_name_is_only_text() -> None:
    drawn = plots_of(10, (3,), [HOSTILE] * 10)
    for svg in drawn.values():
        parsed(svg)
        assert "<script" not in svg
    assert "&lt;script&gt;" in drawn["class-accuracy"]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_costs_its_plot_alone(part: str) -> None:
    result = copy.deepcopy(result_of())
    result["curves"][part] = None
    plots = gallery.plots_of(read_curves(result), classes_of(10, (3,)))
    assert len(plots) == len(PARTS) - 1
    assert len(gallery.not_drawn(plots)) == 1
    assert gallery.not_drawn([]) == [
        plot.title for plot in gallery.plots_of(read_curves(result_of()), classes_of(10, (3,)))
    ]


# ------------------------------------------------------------------------------------------------- accuracy per class


def test_numbers_of_every_class_stand_beside_its_name() -> None:
    accuracy = PerClass(original=[0.914, 0.5], unlearned=[0.013, None])
    told = texts(class_accuracy.draw(accuracy, Classes(("ant", "bee"), frozenset({0}))))
    assert told[told.index("ant (deleted)") + 1] == "0.914 → 0.013"
    assert told[told.index("bee") + 1] == "0.500 → n/a"


def test_classes_without_names_are_numbered() -> None:
    accuracy = PerClass(original=[0.9, 0.5], unlearned=[0.0, 0.5])
    assert {"class 0 (deleted)", "class 1"} <= set(texts(class_accuracy.draw(accuracy, Classes((), frozenset({0})))))


def test_of_many_classes_the_deleted_and_the_most_changed_are_shown_and_the_rest_is_told() -> None:
    before: list[float | None] = [0.9] * 100
    after = list(before)
    after[70], after[3], after[98] = 0.0, 0.5, 0.91
    svg = class_accuracy.draw(PerClass(original=before, unlearned=after), classes_of(100, (70,)))
    told = texts(svg)
    assert {"species number 70 (deleted)", "cat", "species number 98"} <= set(told)
    assert told[-1] == "Shown: 30 of 100 classes. Change of the other 70: between +0.000 and +0.000."


def test_even_with_many_deleted_classes_there_is_room_for_others() -> None:
    drawn = plots_of(100, tuple(range(40)))
    shown = [name for name in texts(drawn["class-accuracy"]) if "deleted" in name]
    assert len(shown) == class_accuracy.MOST_GONE
    shown = [name for name in texts(drawn["confusion"]) if "deleted)" in name]
    assert len(shown) == confusion.MOST_GONE


def test_one_side_alone_is_drawn_too() -> None:
    assert "n/a → 0.250" in texts(class_accuracy.draw(PerClass(unlearned=[0.25]), Classes(("ant",), frozenset({0}))))


# ---------------------------------------------------------------------------------------------------------- confusion


def cells(svg: str) -> list[str]:
    return re.findall(r"<title>([^<]+ taken for [^<]+)</title>", svg)


def test_each_cell_says_its_counts() -> None:
    made = Confusion(original=[[90, 10], [0, 50]], unlearned=[[1, 99], [0, 50]])
    svg = confusion.draw(made, Classes(("ant", "bee"), frozenset({0})))
    assert cells(svg)[:2] == ["ant (deleted) taken for ant: 90 of 100", "ant (deleted) taken for bee: 10 of 100"]
    assert len(cells(svg)) == 8
    assert {"90", "10", "100", "99"} <= set(texts(svg))
    assert "ant (deleted), after: bee 0.99, ant 0.01" in svg


def test_the_reduced_heat_map_shows_the_deleted_rows_and_where_they_go_and_loses_no_image() -> None:
    matrix = [[0] * 100 for _ in range(100)]
    for index in range(100):
        matrix[index][index] = 100
    matrix[77] = [0] * 100
    matrix[77][5], matrix[77][6] = 60, 40
    matrix[30][31], matrix[30][30] = 45, 55
    svg = confusion.draw(Confusion(unlearned=matrix), classes_of(100, (77,)))
    told = texts(svg)
    assert any(name.endswith("77 (deleted)") for name in told)
    assert {"dog", "frog", "species number 30", "species number 31"} <= set(told)
    assert told.count("all others") == 1
    row = [int(cell.rpartition(": ")[2].split()[0]) for cell in cells(svg) if cell.startswith("species number 77")]
    assert sum(row) == 100
    assert len(row) == confusion.MOST + 1


def test_a_class_without_images_is_empty_and_no_error() -> None:
    svg = confusion.draw(Confusion(unlearned=[[0, 0], [3, 7]]), Classes(("ant", "bee"), frozenset({0})))
    assert "ant (deleted) taken for bee: 0 of 0" in svg
    assert "no images" in svg


def test_small_shares_are_not_rounded_to_nothing() -> None:
    svg = confusion.draw(Confusion(unlearned=[[999, 1], [0, 5]]), Classes(("ant", "bee"), frozenset({0})))
    assert "<1" in texts(svg)


# ------------------------------------------------------------------------------------------------------ membership roc


def path_of(svg: str, attribute: str, value: str) -> list[tuple[float, float]]:
    (found,) = [part for part in parsed(svg).iter() if part.tag.endswith("}path") and part.get(attribute) == value]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", found.get("d", ""))]


def test_the_curve_of_an_attack_at_chance_lies_on_the_chance_line() -> None:
    rates = [0.0, 0.001, 0.01, 0.1, 1.0]
    svg = roc.draw(Roc(fpr=rates, tpr=rates))
    for x, y in path_of(svg, "fill", "none"):
        assert x - roc.LEFT == pytest.approx(roc.TOP + roc.SIDE - y, abs=0.02)


def test_a_curve_never_turns_back_and_the_band_holds_it() -> None:
    given = Roc.model_validate(result_of()["curves"]["membership_roc"])
    svg = roc.draw(given)
    curve, band = path_of(svg, "fill", "none"), path_of(svg, "fill-opacity", "0.22")
    assert [x for x, _ in curve] == sorted(x for x, _ in curve)
    assert [y for _, y in curve] == sorted((y for _, y in curve), reverse=True)
    upper, lower = band[: len(curve)], band[len(curve) :][::-1]
    for (_, high), (_, middle), (_, low) in zip(upper, curve, lower, strict=True):
        assert high <= middle + 0.02
        assert middle <= low + 0.02


def test_hits_without_any_false_alarm_begin_at_the_edge_at_their_height() -> None:
    svg = roc.draw(Roc(fpr=[0.0, 0.5, 1.0], tpr=[0.4, 0.9, 1.0]))
    x, y = path_of(svg, "fill", "none")[0]
    assert x == roc.LEFT
    assert roc.TOP < y < roc.TOP + roc.SIDE / 2


def test_the_description_tells_the_hits_at_low_false_alarms() -> None:
    given = Roc(
        fpr=[0.001, 0.01, 0.1, 1.0], tpr=[0.002, 0.03, 0.2, 1.0], low=[0, 0.01, 0.1, 1], high=[0.1, 0.2, 0.3, 1]
    )
    assert "0.030 (0.010 to 0.200) hits at 1 % false alarms" in roc.draw(given)
    assert "interval" not in " ".join(texts(roc.draw(Roc(fpr=[0, 1], tpr=[0, 1]))))


# ---------------------------------------------------------------------------------------------- few-shot and per layer


def test_all_few_shot_numbers_stand_below_the_axis() -> None:
    given = FewShot(original={1: 0.111, 5: 0.222}, unlearned={1: 0.333, 5: None}, reference={5: 0.444})
    told = texts(few_shot.draw(given))
    assert {"0.111", "0.222", "0.333", "0.444", "before", "after", "retrained reference"} <= set(told)
    assert told.count("n/a") == 2


def test_a_single_number_of_images_is_drawn_too() -> None:
    assert "0.500" in texts(few_shot.draw(FewShot(unlearned={5: 0.5})))


def bars(svg: str) -> list[float]:
    return [float(part.get("width", "0")) for part in parsed(svg).iter() if part.tag.endswith("}rect")]


def test_bars_are_as_long_as_the_changes() -> None:
    sizes = (0.1, 0.2, 0.4)
    lengths = bars(layers.draw([Layer(layer=str(size), relative_change=size) for size in sizes]))
    assert [length / lengths[0] for length in lengths] == pytest.approx([1, 2, 4], rel=0.01)


def test_layers_that_did_not_change_or_were_zero_are_told() -> None:
    told = texts(layers.draw([Layer(layer="a", relative_change=0), Layer(layer="b", relative_change=None)]))
    assert {"unchanged", "was zero"} <= set(told)


def test_of_many_layers_the_largest_changes_are_shown_in_the_order_of_the_network() -> None:
    many = [Layer(layer=f"layer {place}", relative_change=place / 100) for place in range(80)]
    told = texts(layers.draw(many))
    shown = [int(name.split()[1]) for name in told if name.startswith("layer ")]
    assert shown == list(range(50, 80))
    assert told[-1] == "Shown: 30 of 80 layers. The other 50 changed by 0.500 at most."


def test_the_same_numbers_give_the_same_plot() -> None:
    def drawn() -> Any:
        return plots_of(10, (3,))

    assert drawn() == drawn()
