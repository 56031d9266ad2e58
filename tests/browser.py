"""Headless Chromium for tests, which looks at a page as a reader does and hears its complaints."""

import csv
import shutil
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"
)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Reader:
    """Somebody who has only the page: an open tab, and all that left it or was complained of."""

    def __init__(self, browser, file, address="", **look):
        look = {"viewport": {"width": 1300, "height": 900}, **look}
        self.context = browser.new_context(accept_downloads=True, **look)
        self.context.set_default_timeout(10_000)
        self.tab = self.context.new_page()
        self.said, self.asked = [], []
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.open(f"{Path(file).as_uri()}{address}")

    def open(self, address):
        self.tab.goto("about:blank")
        self.tab.goto(address)
        self.settle()

    def settle(self):
        """Wait until everything that follows a change is drawn and written."""
        self.tab.wait_for_selector("body[aria-busy=false]", state="attached")

    def until(self, script):
        """Wait for something to become true (no string is evaluated inside the page for it)."""
        for _ in range(100):
            if self.tab.evaluate(script):
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"never: {script}")

    def choose(self, name, value):
        """Choose by the visible text of an option, as a reader does."""
        self.tab.locator(f"#{name}").select_option(label=value)
        self.settle()

    def tick(self, name, on=True):
        self.tab.locator(f"#{name}").set_checked(on)
        self.settle()

    def filter(self, name, words):
        self.tab.get_by_label(f"filter {name}", exact=True).fill(words)
        self.settle()

    def slide(self, step):
        """Move the slider to a step, key by key from the nearest end."""
        slider = self.tab.locator("#time")
        at = self.tab.evaluate("step => group.time.values.indexOf(step)", step)
        slider.focus()
        slider.press("Home")
        for _ in range(at):
            slider.press("ArrowRight")
        self.settle()

    def rows(self, table):
        """Rows of a table as dictionaries of what stands in their cells."""
        head, *body = self.tab.locator(f"#{table} tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        )
        return [dict(zip(head, cells, strict=True)) for cells in body]

    def text(self, name):
        return self.tab.locator(f"#{name}").inner_text()

    def picture(self, name):
        return self.tab.locator(f"#{name}").screenshot()

    def export(self, folder):
        """The runs that are shown, as exported."""
        with self.tab.expect_download() as download:
            self.tab.locator("#export").click()
        file = Path(folder, download.value.suggested_filename)
        download.value.save_as(file)
        with file.open(newline="") as lines:
            return list(csv.DictReader(lines))

    def address(self):
        return self.tab.url.partition("#")[2]
