"""A picture of the page, for README and docs.

python -m tests.pictures reports/index.html docs/page.png --height 1480
python -m tests.pictures reports/index.html docs/real.png --without-clips    other people's videos left out
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser import executable

FRAME = 9  # of every window, from 0: a predicted one
STILL = """seconds => document.getAnimations().forEach((one) => {
  one.pause();
  one.currentTime = seconds * 1000;
})"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path, help="PNG file to write")
    parser.add_argument("--width", type=int, default=1200, help="pixels (default: 1200)")
    parser.add_argument("--height", type=int, help="pixels from the top of the page (default: all of it)")
    parser.add_argument("--dark", action="store_true", help="as in dark mode")
    parser.add_argument("--without-clips", action="store_true", help="leave out what shows frames of clips")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        page = chromium.new_page(
            viewport={"width": arguments.width, "height": arguments.height or 900},
            color_scheme="dark" if arguments.dark else "light",
        )
        page.goto(arguments.page.resolve().as_uri())
        if arguments.without_clips:
            page.add_style_tag(content=".clips { display: none; }")
        page.evaluate(STILL, (FRAME + 0.5) / 8)
        page.screenshot(path=arguments.out, full_page=arguments.height is None)
        chromium.close()


if __name__ == "__main__":
    main()
