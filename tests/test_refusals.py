"""What sites and servers say, word for word, and the class that each is taken for."""

import sys

import pytest
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from tests.conftest import ROOT
from vqcast.web.outcomes import OUTCOMES
from vqcast.web.refusals import WORDING, refusal

# What yt-dlp's users report that it said, and what it means.
SAID = [line.split("\t") for line in (ROOT / "tests" / "refusals.tsv").read_text().splitlines()]


def raised(error: Exception) -> DownloadError:
    """The way YoutubeDL passes an extractor's error on."""
    try:
        raise error
    except ExtractorError:
        return DownloadError(f"ERROR: {error}", sys.exc_info())


@pytest.mark.parametrize(("outcome", "text"), SAID)
def test_what_is_said_has_a_class_and_a_reason_in_one_sentence(outcome, text):
    found = refusal(raised(ExtractorError(text, expected=True, video_id="-aaaaaaaaa_", ie="youtube")))
    assert (found.outcome, text.startswith(found.reason)) == (outcome, True)
    assert found.reason
    for advice in ("ERROR", "--", "http", "[youtube]"):
        assert advice not in found.reason


def test_each_class_that_is_told_from_words_is_told_from_some():
    assert {outcome for outcome, _ in SAID} == {outcome for outcome, _ in WORDING} < OUTCOMES.keys()


def test_region_is_told_by_its_kind_whatever_the_words():
    error = GeoRestrictedError("Nur für Zuschauer in Island verfügbar", countries=["IS"])
    assert refusal(raised(error)).outcome == "region"


def test_extractor_that_breaks_is_no_reason_to_give_a_video_up_for_gone():
    found = refusal(KeyError("removed"))
    assert (found.outcome, found.reason) == ("no-video", "yt-dlp fails: KeyError: 'removed'")
