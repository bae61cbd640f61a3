"""The figures as tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def render(found: Json) -> str:
    """Return Markdown for all that was measured."""
    makers = {
        "about": _about,
        "textbook": _textbook,
        "machine": _machine,
        "kernels": _kernels,
        "pairs": _pairs,
        "evaluation": _evaluation,
        "growth": _growth,
        "cuda": _cuda,
    }
    measured = {name: facts for name, facts in found.get("about", {}).items() if found.get(name.partition(" of ")[0])}
    found = {**found, "about": measured}
    return "\n\n".join(make(found[name]) for name, make in makers.items() if found.get(name))


def _about(found: Json) -> str:
    parts: dict[str, list[str]] = {}
    for name, facts in found.items():
        line = ", ".join(f"{fact.replace('_', ' ')}: {value}" for fact, value in facts.items())
        parts.setdefault(line, []).append(name)
    return "\n".join(f"- {', '.join(names)}: {line}." for line, names in parts.items())


def _textbook(found: Json) -> str:
    rows = [
        [
            subject,
            str(figures["engine"]["samples"]),
            f"{figures['engine']['max_rows']:,}",
            _seconds(figures["engine"]["forward_seconds"]),
            _seconds(figures["engine"]["seconds"]),
            _seconds(figures["textbook"]["seconds"]),
            f"{figures['time_ratio']:.1f}x",
            _megabytes(figures["engine"]["extra_mb"]),
            _megabytes(figures["textbook"]["extra_mb"]),
            "not known" if figures["memory_share"] is None else f"{figures['memory_share']:.2f}",
            f"{figures['largest_difference']:.1e}",
        ]
        for subject, figures in found.items()
    ]
    head = ["network", "samples a side", "most rows", "a plain forward s"]
    head += ["engine s", "textbook s", "ratio", "engine MB", "textbook MB", "share", "largest difference"]
    return _titled("One erase beside the textbook's", head, rows)


def _machine(found: Json) -> str:
    rows = [
        [subject, stage, _seconds(figures[stage]["seconds"]), _seconds(figures[stage]["ideal"]), _ratio(figures[stage])]
        for subject, figures in found.items()
        for stage in ("collect", "update", "all")
    ]
    lines = [
        f"{subject}: products run at {figures['product_gflops']:.0f} Gflop/s"
        f" ({figures['plain_product_gflops']:.0f} unless told otherwise); forward of the samples"
        f" {_seconds(figures['forward_seconds'])} s, second moments {figures['moment_gflop']:.0f} Gflop,"
        f" solves {figures['solve_gflop']:.0f} Gflop."
        for subject, figures in found.items()
    ]
    table = _titled("Stages beside their unavoidable work", ["network", "stage", "s", "ideal s", "ratio"], rows)
    return "\n\n".join([table, *lines])


def _kernels(found: Json) -> str:
    timed = ("moment", "factor", "solve")
    columns = [name for each in timed for name in (each, f"{each}_library")] + ["product", "eigendecomposition"]
    rows = [
        [d, *(_seconds(figures[name]) for name in columns)] for d, figures in found.items() if isinstance(figures, dict)
    ]
    head = ["d", *(f"{name.replace('_', ', ')} s" for name in columns)]
    return _titled("Kernels: 4,096 rows, 512 right-hand sides", head, rows)


def _pairs(found: Json) -> str:
    row = [
        _seconds(found["one_pair_seconds"]),
        _seconds(found["25_pairs_seconds"]),
        f"{found['share_of_25_updates']:.2f}",
    ]
    return _titled("25 pairs of alphas", ["one update s", "25 pairs s", "share of 25 updates"], [row])


def _evaluation(found: Json) -> str:
    rows = [
        [name, _seconds(value["first_seconds"]), _seconds(value["later_seconds"]), _megabytes(value["kept_mb"])]
        for name, value in found.items()
        if isinstance(value, dict)
    ]
    head = ["edit", "first candidate s", "later candidates s", "kept MB"]
    lines = [f"{name}: {_seconds(value)} s." for name, value in found.items() if not isinstance(value, dict)]
    return "\n\n".join([_titled("Judging a candidate on 2,000 validation samples", head, rows), *lines])


def _growth(found: Json) -> str:
    rows = [
        [axis, size, _seconds(figures["collect_seconds"]), _seconds(figures["update_seconds"])]
        for axis, sizes in found.items()
        for size, figures in sizes.items()
    ]
    return _titled("How cost grows", ["with", "size", "collect s", "update s"], rows)


def _cuda(found: Json) -> str:
    rows = [
        [
            subject,
            _seconds(figures["collect_seconds"]),
            _seconds(figures["update_seconds"]),
            _seconds(figures["seconds"]),
            _megabytes(figures["extra_mb"]),
            _ratio(figures["machine"]["all"]),
        ]
        for subject, figures in found.items()
        if isinstance(figures, dict)
    ]
    head = ["network", "collect s", "update s", "all s", "extra MB", "over unavoidable work"]
    return _titled(f"On {found['device']}", head, rows)


def _titled(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return "\n".join([f"### {title}", "", *lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _ratio(stage: Mapping[str, float]) -> str:
    return f"{stage['ratio']:.2f}"


def _seconds(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _megabytes(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.0f}"
