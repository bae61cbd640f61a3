"""The process that turns one page into PDF: HTML comes in, PDF goes out, and nothing else is read, fetched or kept.

It is a process of its own because layout is native code that reads what strangers wrote: whatever goes wrong in it ends
here, under limits of time and memory. `app.reports.typesetting` starts it.
"""

import resource
import sys
from pathlib import Path

import plutoprint

from app.reports.glyphs import spelt_out

FONTS = Path(__file__).parent / "fonts"
MAX_BYTES = 2 * 1024**3
MAX_SECONDS = 60


class NothingElse(plutoprint.ResourceFetcher):
    """Refuses every address: a report holds all it shows, so whatever asks for more was not written by us."""

    def fetch_url(self, url: str) -> plutoprint.ResourceData:  # noqa: ARG002 whatever it is
        """Nothing.

        Returns:
            An empty document of no known type.
        """
        return plutoprint.ResourceData(b"", "application/octet-stream")


def typeset(html: str) -> plutoprint.Book:
    """The pages; characters that no font of ours has are spelt out as code points."""
    plutoprint.plutobook_set_fontconfig_path(FONTS)
    book = plutoprint.Book(plutoprint.PAGE_SIZE_A4)
    book.custom_resource_fetcher = NothingElse()
    book.load_html(spelt_out(html, FONTS))
    return book


def main() -> None:
    """Read HTML from the standard input and write PDF to the standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    html = sys.stdin.buffer.read().decode()
    typeset(html).write_to_pdf_stream(sys.stdout.buffer)


if __name__ == "__main__":
    main()
