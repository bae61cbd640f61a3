"""The report as a page for people: its plots drawn, its tables in order."""

from itertools import groupby

from markupsafe import Markup

from app.audit.measures import MeasureRow
from app.audit.plots import gallery, interval
from app.audit.plots.classes import Classes
from app.audit.schemas import ReportOut, TestOut
from app.pages import rendered
from app.reports import family_tree
from app.reports.accounting import REFUSED
from app.reports.statements import CONTROLLER, NO_CHECKPOINT, NOT_DELETED, NOT_TOLD, UNRECORDED_DEADLINE
from core.errors import NotFound


class UnknownPlot(NotFound):
    """The report has no plot of this name, or the result holds no numbers for it."""

    slug = "unknown-plot"
    title = "Unknown plot"


def page_of(report: ReportOut) -> str:
    """The page; every value is escaped, and the plots escape what they are given themselves."""
    plots = _plots(report)
    bars = {test.name: bar for test in report.verdict.tests if (bar := _bar(test))} if report.verdict else {}
    return rendered(
        "report.html",
        report=report,
        groups=[(heading, list(rows)) for heading, rows in groupby(_more_than_tests(report), key=_heading)],
        has_reference=any(row.reference for row in report.measures),
        plots=[(plot, Markup(plot.svg)) for plot in plots],  # noqa: S704 made by our own serialiser, which escapes
        not_drawn=gallery.not_drawn(plots),
        bars=bars,
        tree=_tree(report),
        not_deleted=NOT_DELETED if report.state in REFUSED else None,
        not_told=NOT_TOLD,
        controller=CONTROLLER,
        no_checkpoint=NO_CHECKPOINT,
        no_deadline=UNRECORDED_DEADLINE,
    )


def plot_of(report: ReportOut, name: str) -> gallery.Plot:
    """One plot of a report.

    Raises:
        UnknownPlot: there is none of this name.
    """
    plots = {plot.name: plot for plot in _plots(report)}
    if name not in plots:
        there = ", ".join(plots) or "none, since nothing was measured that could be drawn"
        msg = f"Expected one of the plots of this report ({there}), got {name!r}."
        raise UnknownPlot(msg)
    return plots[name]


def _plots(report: ReportOut) -> list[gallery.Plot]:
    deleted = frozenset(one.index for one in report.classes)
    classes = Classes(tuple(report.class_labels), deleted, frozenset(report.erased_before))
    return gallery.plots_of(report.curves, classes)


def _tree(report: ReportOut) -> Markup | None:
    if report.accounted is None or not report.accounted.versions:
        return None
    base, new = (one.number if one else None for one in (report.base_version, report.new_version))
    return Markup(family_tree.draw(report.accounted.versions, base=base, new=new))  # noqa: S704 as the plots


def _bar(test: TestOut) -> Markup | None:
    if not test.deciding or test.value is None or test.low is None or test.high is None:
        return None
    margin = test.at_least, test.at_most
    svg = interval.draw(test.name, test.title, value=test.value, ends=(test.low, test.high), margin=margin)
    return Markup(svg)  # noqa: S704 made by our own serialiser, which escapes


def _more_than_tests(report: ReportOut) -> list[MeasureRow]:
    """The measures without those that the tests have told already."""
    told = {test.name: test.value for test in report.verdict.tests} if report.verdict else {}
    return [row for row in report.measures if row.before or row.reference or _is_news(row, told)]


def _is_news(row: MeasureRow, told: dict[str, float | None]) -> bool:
    """Whether the tests lack the value of the new weights, or hold another one, as of before an audit."""
    value = row.after.value if row.after else None
    return value is None or told.get(row.name) != value


def _heading(row: MeasureRow) -> str:
    return row.group
