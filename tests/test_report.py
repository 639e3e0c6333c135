"""The report stage, on clips of test patterns and untrained networks."""

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages import report, sample
from tests.evaluated import (
    CLIPS,
    CODES,
    HOSTILE,
    HOSTILE_LICENCE,
    HOSTILE_PERSON,
    PRIORS,
    REPORT,
    run,
    write_params,
)
from tests.html import Page
from vqcast.clips.pixels import to_pixels
from vqcast.codes.latents import Latents
from vqcast.codes.models import load_vqvae
from vqcast.errors import VqcastError
from vqcast.networks.vqvae import Codes
from vqcast.sampling.store import Samples
from vqcast.work.files import sha256_file


@pytest.fixture
def folder(evaluated, tmp_path, monkeypatch):
    """A copy of the evaluated folder, entered."""
    shutil.copytree(evaluated, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_the_page_asks_the_network_for_nothing_and_runs_no_script(folder):
    run(report, *REPORT, "--out", "index.html")
    text = (folder / "index.html").read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    loaded = [value for name, value in page.attributes if name in ("src", "srcset", "data", "poster")]
    assert not loaded
    styles = re.findall(r"url\((.{10})", text)
    assert styles and all(style.startswith("data:image") for style in styles)
    links = {value for name, value in page.attributes if name == "href"}
    within = {link for link in links if link.startswith("#")}
    assert links - within == {"https://example.org/video", "data:,"}
    assert within <= {f"#{value}" for name, value in page.attributes if name == "id"}


def test_hostile_labels_people_and_licences_are_shown_as_text(folder):
    run(report, *REPORT, "--out", "index.html")
    page = Page((folder / "index.html").read_text())
    for text in (HOSTILE, HOSTILE_PERSON, HOSTILE_LICENCE):
        assert text in page.text
    assert "img" not in page.tags and page.tags.count("style") == 1


def test_the_page_has_the_same_bytes_each_time_and_no_trace_of_where_it_was_made(folder):
    pages = []
    for name in ("one.html", "two.html"):
        run(report, *REPORT, "--out", name)
        pages.append((folder / name).read_bytes())
    assert pages[0] == pages[1]
    assert str(folder).encode() not in pages[0]


def strips_of(text: str) -> dict[str, np.ndarray]:
    """The pictures in a page by their class, each uint8 (T, H, W, 3)."""
    strips = {}
    for css, uri in re.findall(
        r"^\.(w\d+-\S+) \{ background-image: url\(data:image/webp;base64,(.*?)\)", text, re.M
    ):
        row = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB"))
        strips[css] = np.stack(np.split(row, row.shape[1] // row.shape[0], axis=1))
    return strips


def ranked(folder: Path) -> list[dict]:
    rows = [row for row in pq.read_table(folder / "windows.parquet").to_pylist() if row["moving"]]
    return sorted(rows, key=lambda row: -row["model_psnr"][0])


def test_the_page_shows_the_best_and_the_worst_and_says_that_nobody_picked_them(folder):
    run(report, *REPORT, "--out", "index.html")
    page = Page((folder / "index.html").read_text())
    best = ranked(folder)[0]
    assert f"rank 1 · prediction {best['model_psnr'][0]:.1f} dB" in " ".join(page.text.split())
    assert "Best · " in page.text and "Worst · " in page.text
    assert "The 4 windows that move and that may be shown" in page.text and "nobody picked them" in page.text


def test_the_first_predictions_are_the_scored_ones_and_the_others_what_sample_would_draw(folder):
    """2 of 3 were drawn by the stage `sample`; the third it draws too, when it is asked for 3."""
    run(report, *REPORT, "--out", "index.html")
    strips = strips_of((folder / "index.html").read_text())
    write_params(folder, sample={"samples_per_window": 3})
    run(sample, *CLIPS, *CODES, *PRIORS, "--out", "three")
    samples, best = Samples("three"), ranked(folder)[0]["window"]
    for number in range(3):
        np.testing.assert_array_equal(
            strips[f"w1-predicted-{number + 1}"][4:], samples.predicted(best, number)
        )
    predictions = [strips[f"w1-predicted-{number}"] for number in (1, 2, 3)]
    assert (predictions[0][:4] == strips["w1-true"][:4]).all()
    assert len({video.tobytes() for video in predictions}) == 3


def test_figure_2_is_the_window_decoded_from_its_top_codes_alone(folder):
    run(report, *REPORT, "--out", "index.html")
    strips = strips_of((folder / "index.html").read_text())
    latents, best = Latents("latents", "val"), ranked(folder)[0]["window"]
    item = latents[list(latents.window_ids()).index(best)]
    codes = Codes(item["top"][None], item["bottom"][None])
    vqvae = load_vqvae("models/vqvae")
    for kind, use_bottom in (("top", False), ("reconstructed", True)):
        video = to_pixels(vqvae.decode(codes, use_bottom).detach())[0].permute(1, 2, 3, 0).numpy()
        np.testing.assert_array_equal(strips[f"w1-{kind}"][4:], video[4:])
        np.testing.assert_array_equal(strips[f"w1-{kind}"][:4], strips["w1-true"][:4])
    assert (strips["w1-top"] != strips["w1-reconstructed"]).any()


def test_videos_of_other_licences_are_neither_shown_nor_ranked_and_counted(folder):
    run(report, *REPORT, "--out", "index.html")
    text = (folder / "index.html").read_text()
    said = " ".join(Page(text).text.split())
    assert "2 of all 6 validation windows may not be shown and were not ranked here" in said
    assert "pattern.mp4" not in said
    assert f"one.mp4” by {HOSTILE_PERSON}. CC BY 4.0." in said
    assert "two.mp4” by Ada. cc-by-sa-3.0. Accessible here." in said


def test_one_sentence_stands_in_place_of_the_gallery_where_nothing_may_be_shown(folder):
    write_params(folder, report={"licences": ["CC0"]})
    run(report, *REPORT, "--out", "index.html")
    text = (folder / "index.html").read_text()
    said = " ".join(Page(text).text.split())
    assert (
        "No prediction is shown: none of the 6 validation windows is of a clip whose licence is one of"
        in said
    )
    assert strips_of(text) == {} and "No video is shown on this page." in said
    assert not list(folder.glob(".vqcast/scratch/report/*"))


def test_lineage_names_the_models_by_their_bytes_and_counts_what_they_were_trained_on(folder):
    run(report, *REPORT, "--out", "index.html")
    said = " ".join(Page((folder / "index.html").read_text()).text.split())
    for path in (
        "clips.parquet",
        "models/vqvae/model.safetensors",
        "models/top/model.safetensors",
        "models/bottom/model.safetensors",
        "latents/manifest.json",
        "evaluate.json",
    ):
        assert re.search(f"{re.escape(path)} (0|–) {sha256_file(path)}", said), path
    assert "Trained on 1 video (1 clip), judged on 3 videos (3 clips)" in said
    assert "python pipeline.py audit model models/top" in said
    assert f"{HOSTILE_LICENCE} 0 1" in said and "example.org 0 1" in said


def test_table_of_other_windows_is_refused(folder):
    table = pq.read_table("windows.parquet")
    pq.write_table(table.slice(1), "windows.parquet")
    with pytest.raises(VqcastError, match=r"windows\.parquet is of other windows than the samples"):
        run(report, *REPORT, "--out", "index.html")


@pytest.mark.parametrize("name", ["windows.parquet", "positions.parquet", "evaluate.json"])
def test_damaged_table_is_named(folder, name):
    Path(name).write_bytes(b"PAR1")
    with pytest.raises(VqcastError, match=f"{name} is missing or damaged; run the evaluate stage again"):
        run(report, *REPORT, "--out", "index.html")


def test_a_picture_of_the_typical_window_is_made_on_demand(folder):
    run(report, *REPORT, "--out", "index.html", "--picture", "filmstrip.png")
    assert (folder / "filmstrip.png").read_bytes().startswith(b"\x89PNG")


def test_a_damaged_learning_curve_is_named(folder):
    path = Path("curves/vqvae/plots/metrics/train/loss.tsv")
    path.write_text("step\tloss\n10\tnone\n")
    with pytest.raises(VqcastError, match=r"curves/vqvae/plots/metrics/train/loss\.tsv is not a learning"):
        run(report, *REPORT, "--out", "index.html")
