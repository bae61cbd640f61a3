"""The page for people, without a database: complete with every part, and without any of them."""

import copy
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from app.audit.plots.gallery import not_drawn
from app.reports import family_tree
from app.reports.pages import UnknownPlot, page_of, plot_of
from tests.unit.app.reports.examples import HOSTILE, account_of, labels_of, report_of, result_of

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balance(HTMLParser):
    """Open elements, and every start tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(result: dict[str, Any], labels: list[str] | None = None, **members: Any) -> str:
    return page_of(report_of(result, labels or labels_of(10), **members))


def test_elements_are_closed_and_ids_are_unique() -> None:
    reader = Balance()
    reader.feed(page(result_of()))
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.seen if "id" in attributes]
    assert len(ids) == len(set(ids)) > 10


def test_nothing_acts_or_loads_and_no_inline_style_breaks_the_policy() -> None:
    reader = Balance()
    reader.feed(page(result_of(), [HOSTILE] * 10, note=HOSTILE))
    assert "script" not in {tag for tag, _ in reader.seen}
    names = {name for _, attributes in reader.seen for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in {"style", "src", "href"}}


def test_deciding_tests_stand_before_those_that_inform_each_with_its_bar() -> None:
    text = page(result_of())
    assert text.index("Deciding test") < text.index("Tests that inform")
    report = report_of(result_of(), labels_of(10))
    assert report.verdict is not None
    deciding = [test for test in report.verdict.tests if test.deciding]
    assert text.count('class="bar"') == len(deciding)
    assert all(f'id="interval-{test.name}-title"' in text for test in deciding)
    assert "house-with-reference (version 1)" in text


def test_a_deciding_test_that_could_not_be_made_is_shown_with_its_reason_and_without_a_bar() -> None:
    result = result_of()
    first = next(test for test in result["verdict"]["tests"] if test["deciding"])
    first.update(value=None, low=None, high=None, outcome="inconclusive", problem="Too few images.")
    text = page(result)
    assert '<small class="reason">Too few images.</small>' in text
    assert "no interval" in text
    assert f'id="interval-{first["name"]}-title"' not in text


def test_an_override_is_said_before_everything_else() -> None:
    text = page(result_of(), overridden_by="key:4", override_reason=f"We must. {HOSTILE}")
    assert text.index("Published by an override") < text.index("Verdict: fail") < text.index("The request")
    assert "key:4" in text
    assert "<script" not in text
    assert "Published by an override" not in page(result_of())


def test_what_was_not_measured_is_said_with_the_reason() -> None:
    text = page(result_of(reference=False))
    assert "It needs pairs of shadow models. No audit" in text
    assert "No model retrained without the classes was compared with" in text
    assert "Compared with reference 4" in page(result_of())


def test_every_measure_is_explained_with_what_a_retrained_model_scores() -> None:
    text = page(result_of())
    assert "not a membership test" in text
    assert text.count("A retrained model:") >= len(report_of(result_of(), labels_of(10)).measures) / 2
    assert '<th scope="col">Reference</th>' in text
    assert '<th scope="col">Reference</th>' not in page(result_of(reference=False))


@pytest.mark.parametrize("member", ["curves", "measures", "verdict", "cost", "environment", "reference"])
def test_a_page_without_one_part_is_still_a_page(member: str) -> None:
    result = copy.deepcopy(result_of())
    del result[member]
    reader = Balance()
    reader.feed(page(result))
    assert reader.open == []


def test_plots_that_were_not_drawn_are_named() -> None:
    text = page({**result_of(), "curves": None})
    assert "<figure>" not in text
    assert all(title in text for title in not_drawn([]))


def test_a_request_without_a_result_claims_nothing() -> None:
    text = page({})
    assert "What was measured" not in text
    assert "Not drawn" not in text
    assert "not a guarantee" in text


def test_a_page_with_a_hundred_classes_stays_small() -> None:
    text = page(result_of(100, (3, 50, 77)), labels_of(100), deleted=(3, 50, 77))
    assert len(text) < 400_000
    assert "Shown: 16 of 100 classes" in text
    assert len(re.findall("<figure>", text)) == 5


def test_one_plot_can_be_had_alone_and_an_unknown_one_cannot() -> None:
    report = report_of(result_of(), labels_of(10))
    assert plot_of(report, "confusion").svg.startswith("<svg")
    with pytest.raises(UnknownPlot, match="class-accuracy, confusion"):
        plot_of(report, "heat")
    with pytest.raises(UnknownPlot, match="nothing was measured"):
        plot_of(report_of({}, labels_of(10)), "confusion")


def test_headings_go_down_one_step_at_a_time_and_every_table_names_its_columns() -> None:
    reader = Balance()
    reader.feed(page(result_of()))
    levels = [int(tag[1]) for tag, _ in reader.seen if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    headers = [attributes for tag, attributes in reader.seen if tag == "th"]
    assert headers
    assert all(attributes.get("scope") == "col" for attributes in headers)


def test_every_picture_can_be_read_aloud() -> None:
    reader = Balance()
    reader.feed(page(result_of()))
    pictures = [attributes for tag, attributes in reader.seen if tag == "svg"]
    ids = {attributes["id"] for _, attributes in reader.seen if "id" in attributes}
    assert len(pictures) > 6
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= ids


def test_what_a_purge_removed_and_what_it_left_stands_there_with_the_listings() -> None:
    listings = {f"listing_{when}": {"num_blobs": n, "sha256": f"{n}" * 64} for when, n in (("before", 7), ("after", 5))}
    targets = [
        {"kind": "version", "what": "version 1 of 'm'", "sha256": "1" * 64, "outcome": "removed", "why": None},
        {"kind": "images", "what": "images in data set 'd', all", "sha256": None, "outcome": "stays", "why": HOSTILE},
    ]
    purge = {"began_at": "2026-03-01T00:00:00.000000Z", "targets": targets} | listings
    shown = page(result_of(), accounted=account_of(result_of(), (3,), [purge]))
    for fact in (
        "version 1 of &#39;m&#39;",
        "images in data set",
        "removed",
        "stays",
        "7" * 64,
        "5" * 64,
        "2026-03-01",
    ):
        assert fact in shown
    assert HOSTILE not in shown
    assert "Nothing was purged" not in shown
    assert "Nothing was purged" in page(result_of())


@pytest.mark.parametrize("count", [1, 2, 40])
def test_the_lineage_fits_its_picture(count: int) -> None:
    one = account_of({}, (3,)).versions[0]
    versions = [one.model_copy(update={"number": n, "parent": n - 1 or None}) for n in range(1, count + 1)]
    drawn = family_tree.draw(versions, base=1, new=count)
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())  # type: ignore[union-attr]
    assert all(0 < float(y) < height for y in re.findall(r'cy="([0-9.]+)"', drawn))
    assert all(0 < float(x) < width / 2 for x in re.findall(r'cx="([0-9.]+)"', drawn))
    assert drawn.count("<circle") == min(count, family_tree.MOST)
    assert ("older versions are not drawn" in drawn) is (count > family_tree.MOST)
