"""Sections of params.yaml about videos: where they come from, how clips are cut, what a window is."""

from dataclasses import dataclass

from vqcast.settings.checks import SettingsError, one_of, positive, share


@dataclass(frozen=True)
class SampleSource:
    """The embedded collection: videos rendered from a seed."""

    train_videos: int
    val_videos: int
    frames: int
    seed: int

    def __post_init__(self):
        positive(self, "train_videos", "val_videos", "frames")


@dataclass(frozen=True)
class DirectorySource:
    """A folder of videos: `<root>/<label>/<file>`, with an optional `<root>/videos.csv`."""

    root: str
    val_share: float  # of the videos whose split videos.csv does not state

    def __post_init__(self):
        share(self, "val_share")


@dataclass(frozen=True)
class KineticsSelection:
    """The segments of Kinetics that are wanted; both its sources read this."""

    annotations: tuple[str, ...]  # URLs, or files in data/kinetics
    splits: tuple[str, ...]  # of train, val and test; test is judged on, as val is
    labels: tuple[str, ...] | None  # null: all
    max_per_label: int | None  # segments of one label in one split; null: all

    def __post_init__(self):
        if not set(self.splits) <= {"train", "val", "test"}:
            raise SettingsError(f"splits must be of train, val and test, not {list(self.splits)}")
        if self.max_per_label is not None:
            positive(self, "max_per_label")


@dataclass(frozen=True)
class KineticsArchives:
    """The clips in tar.gz archives, as the CVDF mirror has them."""

    lists: tuple[str, ...]  # URLs, or files in data/kinetics: the URL of an archive on each line
    max_clip_bytes: int  # a larger file in an archive is refused

    def __post_init__(self):
        positive(self, "max_clip_bytes")


@dataclass(frozen=True)
class KineticsUrls:
    """The segments of videos, each from its own URL, by yt-dlp."""

    url_template: str  # where {id} stands for the video's YouTube id
    format: str  # which of a video's files, in yt-dlp's terms; one file, and only its pictures are kept
    cookies: str | None  # a file of cookies, as browsers export them; null: none
    rate_limit: float  # videos asked for in a second, by all workers together
    time_limit: float  # seconds for one video before it is given up

    def __post_init__(self):
        positive(self, "rate_limit", "time_limit")
        if not self.url_template.startswith(("http://", "https://")) or "{id}" not in self.url_template:
            raise SettingsError(
                f"url_template must be an http or https URL with {{id}} in it, not {self.url_template!r}"
            )


@dataclass(frozen=True)
class Network:
    """How patient a download is with a server."""

    timeout: float  # seconds without a byte, or with few of them, before a connection is given up
    tries: int  # in a row that bring next to nothing
    pause: float  # seconds before the second try; doubles with each further one
    max_pause: float  # a server that asks for more in Retry-After is left for a later run

    def __post_init__(self):
        positive(self, "timeout", "tries", "pause", "max_pause")


@dataclass(frozen=True)
class Download:
    source: str
    max_failed_share: float  # more failed videos than this stop the stage
    sample: SampleSource
    directory: DirectorySource
    kinetics: KineticsSelection
    kinetics_archives: KineticsArchives
    kinetics_urls: KineticsUrls
    network: Network

    def __post_init__(self):
        one_of(self, "source", ("sample", "directory", "kinetics-archives", "kinetics-urls"))
        share(self, "max_failed_share")
        if self.source.startswith("kinetics") and not self.kinetics.annotations:
            raise SettingsError("kinetics.annotations names no file, which the source kinetics needs")
        if self.source == "kinetics-archives" and not self.kinetics_archives.lists:
            raise SettingsError("kinetics_archives.lists names no list of archives")


@dataclass(frozen=True)
class Clip:
    resolution: int  # pixels, height and width; not `size`, a name that DVC's run-cache leaves out
    fps: float | None  # null keeps each video's own rate
    seconds: float  # a longer video is cut into clips of this length
    gop: int  # frames between keyframes
    crf: int  # x264 quality, 0 is lossless
    videos_per_shard: int  # about as many; vqcast/clips/layout.py says which
    max_rejected_share: float  # more unusable videos than this stop the stage
    time_limit: float  # seconds for one video before its decoding is given up
    max_pixels: int  # a frame; a video with larger ones is refused before one is decoded
    max_seconds: float  # to the end of a video, or of the part of it that is wanted
    max_bytes: int  # of a video's file

    def __post_init__(self):
        positive(self, "resolution", "seconds", "gop", "videos_per_shard", "time_limit")
        positive(self, "max_pixels", "max_seconds", "max_bytes")
        share(self, "max_rejected_share")
        if self.fps is not None:
            positive(self, "fps")
        if not 0 <= self.crf <= 51:
            raise SettingsError(f"clip.crf must lie in 0..51, not {self.crf}")


@dataclass(frozen=True)
class Window:
    frames: int  # consecutive frames that the model sees
    given: int  # of these, the frames it is given
    stride: int  # frames from one window's start to the next

    def __post_init__(self):
        positive(self, "frames", "given", "stride")
        if self.given >= self.frames:
            raise SettingsError(
                f"window.given ({self.given}) must be less than window.frames ({self.frames})"
            )
