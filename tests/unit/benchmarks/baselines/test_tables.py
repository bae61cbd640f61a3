"""The figures that follow from others, the tables, and the plot."""

from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.baselines.plot import COLOURS, Scale, point_of, svg
from benchmarks.baselines.registry import digits
from benchmarks.baselines.tables import RECOVERIES, beside_retrained, render, settings_table
from benchmarks.comparison.tables import RETRAINED

BASELINES = digits()


def result(method: str, seed: int = 0, *, seconds: float = 2.0, way: float = 0.5, **values: float) -> dict[str, Any]:
    accuracies = {"test_retain_accuracy": 0.9, "test_forget_accuracy": 0.0, "train_retain_accuracy": 1.0}
    measures = accuracies | {"train_forget_accuracy": 0.0, "membership_auc": 0.5} | values
    measures |= {f"{name}{'_5' if name.startswith('relearn') else ''}_forget_accuracy": way for name in RECOVERIES}
    return {
        "request": "3",
        "method": method,
        "seed": seed,
        "steps": [5, 20],
        "orders": 3,
        "seconds": seconds,
        "is_supplied": False,
        "evaluation_seconds": 1.0,
        "threads": 1,
        "device": "cpu",
        "torch": "2",
        "measures": {name: {"value": value, "n": 100} for name, value in measures.items()},
    }


def value(found: dict[str, Any], name: str) -> float:
    return float(found["measures"][name]["value"])


def test_differences_are_taken_from_the_retrained_model_of_the_same_class_and_seed() -> None:
    one = result("scrub", test_retain_accuracy=0.8, train_retain_accuracy=0.95, train_forget_accuracy=0.1, way=0.75)
    rows = [one, result(RETRAINED, seconds=8.0), result(RETRAINED, seed=1, test_retain_accuracy=0.1)]
    found = beside_retrained(rows)
    assert value(found[0], "tow") == pytest.approx(0.9 * 0.95 * 0.9)
    assert value(found[0], "recovery") == pytest.approx(0.75)
    assert value(found[0], "recovery_gap") == value(found[0], "probe_gap") == pytest.approx(0.25)
    assert value(found[0], "speed_up") == pytest.approx(4)
    assert (value(found[1], "tow"), value(found[1], "recovery_gap")) == (1.0, 0.0)


def test_without_a_retrained_model_there_are_no_differences() -> None:
    (found,) = beside_retrained([result("scrub")])
    assert "recovery" in found["measures"]
    assert not {"tow", "probe_gap", "recovery_gap", "speed_up"} & set(found["measures"])


def test_a_supplied_retrained_model_has_no_seconds() -> None:
    supplied = result(RETRAINED) | {"is_supplied": True}
    found = beside_retrained([result("scrub"), supplied])
    assert "speed_up" not in found[0]["measures"]
    row = next(
        line for line in render(found, BASELINES).splitlines() if line.startswith("| retrained") and "1.000" in line
    )
    assert row.split("|")[-3].strip() == ""


def test_tables_show_mean_and_deviation_and_how_many_rows_are_missing() -> None:
    rows = [result("scrub", seed, test_retain_accuracy=0.8 + 0.1 * seed) for seed in (0, 1)]
    text = render(beside_retrained([*rows, result("salun")]), BASELINES)
    assert "| scrub | 85.0 ± 7.1 |" in text
    assert "| salun (1) | 90.0 |" in text
    assert "Classes 3; seeds 0, 1." in text


def test_every_setting_of_every_method_is_told() -> None:
    text = settings_table(BASELINES)
    assert "| ssd | alpha 10, strength 1, most samples 1000 |" in text
    assert "| fine_tune | epochs 10, learning rate 0.05, batch size 64, optimiser sgd," in text
    assert "momentum" not in next(line for line in text.splitlines() if line.startswith("| scrub"))


def test_the_plot_holds_a_point_per_method_where_its_figures_are() -> None:
    rows = beside_retrained([result("scrub", way=0.2), result("salun", way=0.6), result(RETRAINED, way=0.4)])
    drawing = ElementTree.fromstring(svg(rows, BASELINES))  # noqa: S314 - our own text
    circles = [node for node in drawing if node.tag.endswith("circle")]
    assert len(circles) == 6  # each point, and its line of the legend
    scale = Scale(bottom=65.0)  # 25 points below the best, as the original is not among them
    drawn = {(float(node.get("cx", 0)), node.get("fill")) for node in circles[::2]}
    assert drawn == {
        (scale.x(20), COLOURS["training"]),
        (scale.x(60), COLOURS["training"]),
        (scale.x(40), COLOURS["target"]),
    }
    assert [float(node.get("cy", 0)) for node in circles[::2]] == pytest.approx([scale.y(90)] * 3, abs=0.1)
    texts = [node.text for node in drawing if node.tag.endswith("text")]
    assert {"scrub", "salun", RETRAINED, *COLOURS} <= set(texts)


def test_a_method_that_retains_little_is_drawn_on_the_edge_and_says_so() -> None:
    rows = beside_retrained([result("original"), result("neggrad", test_retain_accuracy=0.11)])
    drawing = svg(rows, BASELINES)
    assert "neggrad (retains 11 %)" in drawing
    assert Scale(65.0).y(11) == Scale(65.0).y(65)


def test_a_method_without_rows_has_no_point() -> None:
    assert point_of(BASELINES["ssd"], beside_retrained([result("scrub")])) is None
    assert point_of(BASELINES["scrub"], beside_retrained([result("scrub")])) is not None
