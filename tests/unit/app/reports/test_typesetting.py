"""PDF from pages: complete, in every script we can show, and deaf to what the text asks for."""

import io
import threading
from pathlib import Path

import plutoprint
import pypdf
import pytest

from app.reports import typesetting
from app.reports.glyphs import code_points, in_plain_order, spelt_out
from app.reports.pages import page_of
from app.reports.typesetter import FONTS, NothingElse
from app.reports.typesetting import NoPdf, TooManyPdfs, to_pdf
from tests.unit.app.reports.examples import labels_of, report_of, result_of


def text_of(pdf: bytes) -> str:
    """All text, with the line breaks of narrow columns taken out."""
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def test_the_pdf_has_what_the_page_has() -> None:
    html = page_of(report_of(result_of(), labels_of(10)))
    pdf = to_pdf(html)
    text = text_of(pdf)
    for fact in ("cifar10-vgg11", "2026-01-30", "Verdict: fail", "house-with-reference (version 1)", "not a guarantee"):
        assert fact in text
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    assert reader.metadata is not None
    assert "Deletion report" in str(reader.metadata.title)
    assert len(reader.pages) > 3


def test_every_script_is_shown_or_spelt_out() -> None:
    hebrew, arabic, chinese, japanese = "שלום", "مرحبا", "你好", "日本語のクラス"
    note = f"{hebrew} {arabic} {chinese} {japanese} Ελλάδα Жук 😀 한국 ไทย 👩🏽‍💻 \u202egnp.exe"
    text = text_of(to_pdf(page_of(report_of(result_of(), labels_of(10), note=note))))
    for shown in (chinese, japanese, "Ελλάδα", "Жук", "😀"):
        assert shown in text
    # Right-to-left text comes out of the extraction in the order in which it is drawn.
    assert hebrew in text or hebrew[::-1] in text
    for letter in "한국ไท💻":
        assert f"[U+{ord(letter):04X}]" in text.replace(" ", "")
    assert "[U+202E]gnp.exe" in text
    assert "\ufffd" not in text


def test_the_fonts_have_the_glyphs_that_their_tables_name() -> None:
    fonts = {path.name: code_points(path.read_bytes()) for path in FONTS.glob("*.ttf")}
    assert set(map(ord, "Aßλж→…שم")) <= fonts["DejaVuSans.ttf"]
    assert set(map(ord, "你語の")) <= fonts["DroidSansFallbackFull.ttf"]
    assert 0x0E01 not in set().union(*fonts.values())
    assert spelt_out("A→你ก", FONTS) == "A→你[U+0E01]"
    assert in_plain_order("a\u202eb\u2066c") == "a[U+202E]b[U+2066]c"


HOSTILE = """<p>before</p><img src="file:///etc/passwd"><img src="http://127.0.0.1:9/x">
<object data="file:///etc/passwd"></object><iframe src="file:///etc/passwd"></iframe>
<link rel="stylesheet" href="{style}"><style>@import url({style});</style>
<svg width="9" height="9"><image href="file:///etc/passwd" width="9" height="9"/></svg><p class="gone">after</p>"""


def test_even_markup_that_was_not_escaped_reads_no_file_and_no_address(tmp_path: Path) -> None:
    style = tmp_path / "style.css"
    style.write_text(".gone { display: none }")
    html = HOSTILE.format(style=style.as_uri())
    asked: list[str] = []

    class Listening(plutoprint.ResourceFetcher):
        def fetch_url(self, url: str) -> plutoprint.ResourceData:
            asked.append(url)
            return NothingElse().fetch_url(url)

    # Without our fetcher the file is read and obeyed: the attack works.
    open_book = plutoprint.Book()
    open_book.load_html(HOSTILE.format(style=style.as_uri()).replace("http://127.0.0.1:9/x", ""))
    drawn = io.BytesIO()
    open_book.write_to_pdf_stream(drawn)
    assert "after" not in text_of(drawn.getvalue())
    # With it, it is not; and everything that would be fetched is asked of it.
    assert text_of(to_pdf(html)) == "before after"
    listening = plutoprint.Book()
    listening.custom_resource_fetcher = Listening()
    listening.load_html(html)
    listening.write_to_pdf_stream(io.BytesIO())
    assert {"file:///etc/passwd", "http://127.0.0.1:9/x", style.as_uri()} <= set(asked)


def test_hostile_labels_are_text() -> None:
    label = "<img src=file:///etc/passwd><script>alert(1)</script>"
    html = page_of(report_of(result_of(), [label] * 10, note="http://127.0.0.1:9/fetch"))
    assert "<img" not in html
    assert label in text_of(to_pdf(html))


def test_a_typesetter_that_fails_is_a_problem_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting, "COMMAND", ("false",))
    with pytest.raises(NoPdf, match="take HTML, CSV or JSON"):
        to_pdf("<p>x</p>")
    monkeypatch.setattr(typesetting, "COMMAND", ("sleep", "60"))
    monkeypatch.setattr(typesetting, "SECONDS", 0.1)
    with pytest.raises(NoPdf):
        to_pdf("<p>x</p>")
    monkeypatch.setattr(typesetting, "_room", threading.BoundedSemaphore(1))
    with typesetting._room, pytest.raises(TooManyPdfs, match="Try again"):
        to_pdf("<p>x</p>")
