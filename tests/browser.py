"""A real Chromium without a window, for the tests of pages; they are skipped where there is none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PHONE = {"width": 360, "height": 640}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# The contrast of every text that is seen with what lies behind it, as WCAG computes it, and its element.
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [text, paper] = [light(parse(ink)), light(behind(element))];
    const ratio = (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
    found.push([ratio, element.outerHTML.slice(0, 60)]);
  }
  return found;
}"""


def executable() -> str | None:
    """The Chromium to start; None: the one that playwright installed."""
    return os.environ.get("VQCAST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator:
    """VQCAST_CHROMIUM names its program; else one on the PATH, or the one that playwright installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        try:
            # Without a sandbox, which root and containers cannot have: it sees this project's pages alone.
            started = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium can be started: {error.message.splitlines()[0]}")
        yield started
        started.close()


@contextmanager
def opened(browser, **options):
    """A page of a person of their own; what goes wrong in it, and what it asks for, is noted."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.faults, page.requested = [], []
    page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("request", lambda request: page.requested.append(request.url))
    yield page
    context.close()
