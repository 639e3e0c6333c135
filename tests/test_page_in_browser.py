"""The page as a person has it: a real Chromium, light and dark, a phone, and the keyboard alone."""

import base64
import io
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from stages import report
from tests.browser import CONTRAST, PHONE, opened
from tests.evaluated import HOSTILE, REPORT, run

FRAMES = 16
PLAYERS = 2 * (2 + 3) + 2 * 3  # two windows: truth, reconstruction, 3 predictions; and what each level holds


@pytest.fixture(scope="module")
def page_file(evaluated, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(evaluated)
        run(report, *REPORT, "--out", str(path))
    return path


@pytest.fixture
def page(browser, page_file):
    with opened(browser, viewport={"width": 1200, "height": 900}) as page:
        page.goto(page_file.as_uri())
        yield page


def test_page_asks_for_nothing_but_itself_and_complains_of_nothing(page, page_file):
    page.wait_for_load_state("networkidle")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(200)
    assert page.faults == []
    assert all(url.startswith("data:") or url == page_file.as_uri() for url in page.requested)
    assert page_file.as_uri() in page.requested


SEEN = """async () => {
  const players = [...document.querySelectorAll(".player")];
  const seen = players.map(() => new Set());
  const until = performance.now() + 2500;
  while (performance.now() < until) {
    players.forEach((player, n) => seen[n].add(getComputedStyle(player).backgroundPositionX));
    await new Promise(requestAnimationFrame);
  }
  return seen.map((positions) => positions.size);
}"""
SHOW = """frame => document.getAnimations().forEach((animation) => {
  animation.pause();
  animation.currentTime = (frame + 0.5) * 125;
})"""
SOURCE = "player => getComputedStyle(player).backgroundImage"


def test_every_video_plays_all_of_its_frames_by_itself(page):
    assert page.evaluate(SEEN) == [FRAMES] * PLAYERS


def test_every_video_shows_at_each_moment_the_frame_that_is_due(page):
    """What is on the screen, compared with the pictures that the page holds."""
    players = page.locator(".player").all()
    assert len(players) == PLAYERS
    boxes = [player.bounding_box() for player in players]
    strips = []
    for player in players:
        encoded = re.search(r"base64,([^\"]*)", player.evaluate(SOURCE))[1]
        row = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
        strips.append(np.split(row, FRAMES, axis=1))
    for frame in (0, 3, 4, FRAMES - 1):
        page.evaluate(SHOW, frame)
        screen = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
        for box, strip in zip(boxes, strips, strict=True):
            x, y, size = round(box["x"]), round(box["y"]), int(box["width"])
            due = Image.fromarray(strip[frame]).resize((size, size), Image.Resampling.NEAREST)
            seen = screen[y : y + size, x : x + size]
            difference = np.abs(np.asarray(due).astype(int) - seen)[4:-4, 4:-4]
            assert np.median(difference) <= 2 and difference.mean() < 6
    assert len({frame.tobytes() for frame in strips[0]}) == FRAMES  # the truth brightens


def test_border_tells_given_from_predicted_frames(page):
    colour = "() => getComputedStyle(document.querySelector('.player.predicted')).outlineColor"
    seen = []
    for frame in (0, 3, 4, FRAMES - 1):
        page.evaluate(SHOW, frame)
        seen.append(page.evaluate(colour))
    assert seen[0] == seen[1] != seen[2] == seen[3]


RUNNING = "() => document.getAnimations().filter((one) => one.playState === 'running').length"


def test_keyboard_alone_reaches_all_in_the_order_in_which_it_is_read_and_pauses(page):
    focused = """() => {
      const it = document.activeElement;
      return [it.id || it.getAttribute("href") || it.getAttribute("aria-label"),
              it.getBoundingClientRect().top + scrollY,
              getComputedStyle(it.id === "pause" ? it.nextElementSibling : it).outlineStyle];
    }"""
    order = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, top, outline = page.evaluate(focused)
        if name is None:  # past the last one
            break
        assert outline == "solid", name
        order.append((name, top))
        if name == "pause":
            assert page.evaluate(RUNNING) >= PLAYERS
            page.keyboard.press("Space")
            assert page.evaluate(RUNNING) == 0
            page.keyboard.press("Space")
            assert page.evaluate(RUNNING) >= PLAYERS
    names, tops = zip(*order, strict=True)
    assert names[:2] == ("#predictions", "#systems") and "pause" in names
    assert "https://example.org/video" in names and names[-1] == "Videos by source"
    later = tops[names.index("pause") :]
    assert all(below >= above - 1 for above, below in pairwise(later))


def test_nothing_moves_unasked_for_those_who_want_less_motion(browser, page_file):
    with opened(browser, reduced_motion="reduce") as page:
        page.goto(page_file.as_uri())
        assert page.evaluate(RUNNING) == 0
        page.get_by_text("Play", exact=True).click()
        assert page.evaluate(RUNNING) >= PLAYERS


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_on_a_phone_in_light_and_dark(browser, page_file, scheme):
    with opened(browser, viewport=PHONE, color_scheme=scheme) as page:
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for frame in (0, FRAMES - 1):
            page.evaluate(SHOW, frame)
            ratios = page.evaluate(CONTRAST)
            assert len(ratios) > 100
            assert [what for what in ratios if what[0] < 4.5] == []
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", paper)))
        assert brightness > 600 if scheme == "light" else brightness < 150
        outside = """() => [...document.querySelectorAll(".player, p, h1, h2, h3, dl")]
          .filter((one) => one.getBoundingClientRect().right > innerWidth).length"""
        assert page.evaluate(outside) == 0


def test_scripts_in_labels_and_names_are_text_and_do_not_run(page):
    assert page.title().startswith("vqcast: ")
    assert page.get_by_text(HOSTILE).count() >= 2
    assert page.locator("img, script").count() == 0
    assert page.faults == []
