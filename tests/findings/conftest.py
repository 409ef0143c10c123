"""A browser for the pages, and what it complained of; skipped where there is none."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Seen:
    """An open page, and what it complained of or asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.faults: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, file: Path, part: str = "") -> Any:
        self.page.goto(f"{file.as_uri()}{part}")
        self.page.wait_for_selector("html[data-ready=yes]")
        return self.page


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, headless."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def seen(browser: Any) -> Iterator[Seen]:
    """A page of the browser, which complains of nothing and asks nobody in the end."""
    page = browser.new_page()
    looked = Seen(page)
    yield looked
    page.close()
    assert looked.faults == []
    assert all(request.startswith(("file:", "about:blank")) for request in looked.requests)


@pytest.fixture(scope="session")
def axe() -> str:
    """The program of axe-core, which finds faults of accessibility (https://github.com/dequelabs/axe-core)."""
    file = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
    if not file.is_file():
        pytest.skip("axe-core is not installed here: npm install --no-save axe-core")
    return file.read_text(encoding="utf-8")


def serious(page: Any, axe: str) -> list[str]:
    """What axe finds on a page as it is now, of those faults that keep somebody out."""
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]
