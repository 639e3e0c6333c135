"""The rating page as a person has it: a real Chromium, a real server, mouse and keyboard."""

import re
import signal

import pytest

from tests.browser import CONTRAST, PHONE, opened
from tests.studies import HOSTILE, RateServer, make_project

FAST = ("--fps", "60")
ENABLED = "button#answer-left:not([disabled])"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("browser") / "project", videos=24)


@pytest.fixture
def server(project, tmp_path):
    options = (*FAST, "--raters", "3", "--judgements", "2", "--answers", str(tmp_path / "answers"))
    with RateServer(project, *options) as server:
        yield server


def enter(page, server, rater):
    page.goto(server.url)
    page.get_by_label("Your code").fill(rater)
    page.keyboard.press("Enter")
    page.wait_for_url("**/rate?rater=*")


def token(page):
    return page.locator("#pair").get_attribute("data-token")


def judge(page, how):
    """One judgement, by a click or a key, once it may be made; waits for what comes next."""
    before = token(page)
    page.wait_for_selector(ENABLED)
    how(page)
    wait_for_another(page, before)


def wait_for_another(page, token):
    """Wait until a comparison is shown that is not this one, or none."""
    page.wait_for_function("token => document.getElementById('pair')?.dataset.token !== token", arg=token)


def by_key(key):
    return lambda page: page.keyboard.press(key)


def by_mouse(answer):
    return lambda page: page.click(f"#answer-{answer}")


WAYS = [by_key("ArrowLeft"), by_mouse("right"), by_key("ArrowDown"), by_mouse("left"), by_key("ArrowRight")]
GIVES = ["left", "right", "tie", "left", "right"]


def answers(server, rater):
    """The side of each answer of a rater, in order."""
    its = [judgement for judgement in server.judgements() if judgement["rater"] == rater]
    sides = {"left": "right", "right": "left"}
    return [
        j["answer"] if j["answer"] == "tie" else j["a_side"] if j["answer"] == "a" else sides[j["a_side"]]
        for j in its
    ]


def test_twenty_judgements_survive_a_server_that_is_killed_half_way(browser, server):
    rater = server.codes[0]
    with opened(browser) as page:
        enter(page, server, rater)
        for number in range(20):
            if number == 10:
                page.wait_for_selector(ENABLED)
                server.kill(signal.SIGKILL)
                page.keyboard.press("ArrowLeft")  # answered while nobody listens
                page.get_by_text("The server does not answer").wait_for()
                before = token(page)
                server.start()
                wait_for_another(page, before)
            else:
                judge(page, WAYS[number % 5])
        assert page.locator(".over").inner_text() == "20 judged, of up to 24"
    expected = [*GIVES * 2, "left", *(GIVES * 2)[1:]]
    assert answers(server, rater) == expected
    shown = [judgement["window"] for judgement in server.judgements()]
    assert len(set(shown)) == 20


def test_page_asks_for_nothing_from_elsewhere_and_complains_of_nothing(browser, server):
    with opened(browser) as page:
        enter(page, server, server.codes[0])
        judge(page, by_key("ArrowLeft"))
        page.wait_for_selector(ENABLED)
        page.goto(f"{server.url}/results?key={server.key}")
        page.wait_for_load_state("networkidle")
        assert page.faults == []
        assert all(url.startswith((f"{server.url}/", "data:")) for url in page.requested), page.requested


def test_both_videos_play_in_step_and_say_what_is_given(browser, server):
    pixel = """() => ["left", "right"].map((side) => {
      const canvas = document.getElementById(side);
      return [...canvas.getContext("2d").getImageData(8, 8, 1, 1).data].slice(0, 3).join();
    })"""
    with opened(browser) as page:
        enter(page, server, server.codes[0])
        page.evaluate(
            f"""() => {{
              window.seen = [];
              const look = {pixel};
              const watch = () => {{
                const predicted = document.getElementById("left").classList.contains("predicted");
                window.seen.push([...look(), predicted]);
                requestAnimationFrame(watch);
              }};
              watch();
            }}"""
        )
        page.wait_for_selector(ENABLED)
        page.wait_for_timeout(1500)
        seen = {tuple(frame) for frame in page.evaluate("window.seen") if frame[0] != "0,0,0"}
        given = {(left, right) for left, right, predicted in seen if not predicted}
        made_up = {(left, right) for left, right, predicted in seen if predicted}
        assert 3 <= len(given) <= 4 and all(left == right for left, right in given)
        assert 9 <= len(made_up) <= 12 and all(left != right for left, right in made_up)


def test_pause_holds_both_videos_and_lets_them_go_on(browser, server):
    look = "() => document.getElementById('left').toDataURL() + document.getElementById('right').toDataURL()"
    with opened(browser) as page:
        enter(page, server, server.codes[0])
        page.wait_for_selector(ENABLED)
        page.keyboard.press("p")
        assert page.locator("#pause").get_attribute("aria-pressed") == "true"
        page.wait_for_timeout(100)
        held = page.evaluate(look)
        page.wait_for_timeout(500)
        assert page.evaluate(look) == held
        page.click("#pause")
        page.wait_for_function(f"held => ({look})() !== held", arg=held)


def test_two_raters_at_once_are_kept_apart(browser, server):
    one, other, _ = server.codes
    with opened(browser) as first, opened(browser) as second:
        enter(first, server, one)
        enter(second, server, other)
        for number in range(6):
            tokens = token(first), token(second)
            assert tokens[0] != tokens[1]
            first.wait_for_selector(ENABLED)
            second.wait_for_selector(ENABLED)
            first.keyboard.press("ArrowLeft")
            second.keyboard.press("ArrowDown" if number % 2 else "ArrowRight")
            for page, before in zip((first, second), tokens, strict=True):
                wait_for_another(page, before)
    assert answers(server, one) == ["left"] * 6
    assert answers(server, other) == ["right", "tie"] * 3


def test_held_or_early_key_is_no_judgement(browser, server):
    rater = server.codes[0]
    with opened(browser) as page:
        page.route("**/picture/**", lambda route: route.abort())
        enter(page, server, rater)
        page.get_by_text("The videos cannot be loaded").wait_for()
        page.keyboard.press("ArrowLeft")  # nothing has played
        page.unroute("**/picture/**")
        page.reload()
        judge(page, lambda page: [page.keyboard.down("ArrowRight"), page.keyboard.down("ArrowRight")])
        page.wait_for_selector(ENABLED)
        page.keyboard.down("ArrowRight")  # still held: a repetition
        page.wait_for_timeout(500)
        assert page.locator(".over").inner_text().startswith("1 judged")
    assert answers(server, rater) == ["right"]


def test_keyboard_alone_reaches_all_in_the_order_in_which_it_is_read(browser, server):
    with opened(browser) as page:
        page.goto(server.url)
        focused = "() => document.activeElement.id || document.activeElement.name"
        assert page.evaluate(focused) == "rater"
        page.keyboard.type(server.codes[0])
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(ENABLED)
        order = []
        for _ in range(4):
            page.keyboard.press("Tab")
            order.append(page.evaluate(focused))
            assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert order == ["answer-left", "answer-tie", "answer-right", "pause"]
        page.keyboard.press("Shift+Tab")
        judge(page, by_key("Enter"))
    assert answers(server, server.codes[0]) == ["right"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_readable_on_a_phone_in_light_and_dark(browser, server, scheme):
    papers = set()
    with opened(browser, viewport=PHONE, color_scheme=scheme) as page:

        def check():
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            ratios = page.evaluate(CONTRAST)
            assert ratios
            assert [what for what in ratios if what[0] < 4.5] == []
            papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))

        page.goto(server.url)
        check()
        enter(page, server, server.codes[0])
        page.wait_for_selector(ENABLED)
        check()
        for answer in ("left", "right"):
            box, canvas = (page.locator(f"#{name}").bounding_box() for name in (f"answer-{answer}", answer))
            assert box["height"] >= 44 and box["y"] + box["height"] <= PHONE["height"]
            assert canvas["width"] >= 150
        judge(page, by_mouse("tie"))
        page.goto(f"{server.url}/results?key={server.key}")
        check()
    brightness = sum(map(int, re.findall(r"\d+", papers.pop())))
    assert not papers and (brightness > 600 if scheme == "light" else brightness < 150)


def test_script_in_a_label_does_not_run(browser, server):
    rater = server.codes[0]
    while (shown := server.shown(rater)) is not None:  # all, for they come in random order
        server.answer(rater, shown, "tie")
    with opened(browser) as page:
        page.goto(f"{server.url}/results?key={server.key}")
        assert page.get_by_text(HOSTILE).count() == 1
        assert page.locator("img").count() == 0
        page.goto(f"{server.url}/rate?rater=<img src=x onerror=document.title='owned'>")
        page.wait_for_timeout(300)
        assert page.title() == "Compare videos"
        assert page.get_by_role("alert").inner_text().startswith("There is no rater with the code")


def test_wrong_code_is_told_and_the_right_one_may_be_written_large(browser, server):
    with opened(browser) as page:
        enter(page, server, "nobody")
        assert "There is no rater with the code “nobody”" in page.get_by_role("alert").inner_text()
        page.get_by_label("Your code").fill(f" {server.codes[0].upper()} ")
        page.keyboard.press("Enter")
        page.wait_for_selector("#pair")


def test_rater_who_is_done_is_told_so(browser, project, tmp_path):
    options = (*FAST, "--videos", "2", "--raters", "1", "--judgements", "1", "--answers", str(tmp_path / "a"))
    with RateServer(project, *options) as server, opened(browser) as page:
        enter(page, server, server.codes[0])
        judge(page, by_key("ArrowLeft"))
        judge(page, by_mouse("right"))
        assert page.get_by_role("heading").inner_text() == "Thank you, that is all"
        assert "It is enough: each of the 2 videos" in page.locator("main").inner_text()
