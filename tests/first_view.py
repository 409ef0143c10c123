"""How long a page takes to be looked at, in Chromium, and whether it complains of anything or asks anybody.

    python -m tests.first_view reports/demo/index.html
    python -m tests.first_view --made-up 58                  # a study of 50,634 made-up samples

Each time in a window of its own that has seen nothing before: the seconds, by the browser's own clock, from the moment
the page is asked for until something is painted (the verdicts stand in its HTML), and until its tables are there; then
from a click until a sample, a head, or the rows of a filter are shown. Printed are the median and the longest. The exit
code is 1 where the page writes to its console or asks for anything but its file. Needs Playwright and Chromium.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TIMES = """() => ({
  painted: performance.getEntriesByName("first-contentful-paint")[0].startTime / 1000,
  tables: performance.now() / 1000,
})"""
CELL, LOST = "#samples-grid td[data-row]", "#samples-filters select[name='Rows with any']"


def made_up(n_filings: int, folder: Path) -> Path:
    """The page of a study that never ran: nine tasks, all experiments, 873 samples a filing."""
    sys.path.insert(0, str(HERE))
    from fake_study import make_report

    from harness.findings.page.page_data import page_data
    from harness.findings.page.page_writing import write_page

    report, samples = make_report(n_filings=n_filings)
    print(f"{len(samples):,} samples of {len(report.conditions)} conditions")
    return write_page(report, page_data(report, samples), folder)


def look(browser: Any, file: Path) -> tuple[dict[str, float], list[str]]:
    """Seconds by what was waited for, and what the page complained of or asked for."""
    address = file.resolve().as_uri()
    context = browser.new_context(viewport={"width": 1024, "height": 800})
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url != address else None)
    page.goto(address)
    page.wait_for_selector("html[data-ready=yes]")
    seen: dict[str, float] = page.evaluate(TIMES)
    seen["sample"] = _seconds(page.locator(CELL).first.click, lambda: page.wait_for_selector("dialog[open]"))
    page.keyboard.press("Escape")
    if page.locator("#heads-map td").count():
        click = page.locator("#heads-map td").first.click
        seen["head"] = _seconds(click, lambda: page.wait_for_selector("#head h3"))
    seen["filter"] = _seconds(lambda: page.locator(LOST).select_option("l"), lambda: page.wait_for_selector(CELL))
    context.close()
    return seen, complaints


def _seconds(act: Callable[[], object], wait: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    wait()
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description="How long a page takes to be looked at.")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="an index.html")
    parser.add_argument("--made-up", type=int, metavar="N", help="also a made-up study of N filings")
    parser.add_argument("--times", type=int, default=7, help="how often each is opened (default: %(default)s)")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium on this machine", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        made = [] if arguments.made_up is None else [made_up(arguments.made_up, Path(folder))]
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for file in (*arguments.pages, *made):
            every = []
            for _ in range(arguments.times):
                seen, heard = look(browser, file)
                every.append(seen)
                complaints += heard
            said = [
                f"{what} {statistics.median(taken):.2f} ({max(taken):.2f})"
                for what in every[0]
                for taken in [[each[what] for each in every]]
            ]
            print(f"{file}: {file.stat().st_size / 1e6:.2f} MB; seconds, median (longest): {', '.join(said)}")
        browser.close()
    for complaint in dict.fromkeys(complaints):
        print(f"complained of, or asked for: {complaint}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
