"""params.yaml as frozen, typed, checked settings; read once, at the edge.

Every dataclass below is one section of params.yaml and states what its keys mean; that of `evaluate` is in
`metrics/settings.py`. A section checks itself when it is made; `Settings` checks what sections must agree on.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from vqcast.metrics.settings import Evaluate
from vqcast.parameters import SettingsError, build, one_of, positive, share


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
    size: int  # pixels, height and width
    fps: float | None  # null keeps each video's own rate
    seconds: float  # a longer video is cut into clips of this length
    gop: int  # frames between keyframes
    crf: int  # x264 quality, 0 is lossless
    videos_per_shard: int  # about as many; vqcast/video/layout.py says which
    max_rejected_share: float  # more unusable videos than this stop the stage
    time_limit: float  # seconds for one video before its decoding is given up
    max_pixels: int  # a frame; a video with larger ones is refused before one is decoded
    max_seconds: float  # to the end of a video, or of the part of it that is wanted
    max_bytes: int  # of a video's file

    def __post_init__(self):
        positive(self, "size", "seconds", "gop", "videos_per_shard", "time_limit")
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


@dataclass(frozen=True)
class Vqvae:
    """Table 3 of the paper. Filters and strides are (time, height, width)."""

    hidden: int
    residual: int
    residual_layers: int
    codes: int
    code_dim: int
    first_filter: tuple[int, int, int]
    first_stride: tuple[int, int, int]
    second_filter: tuple[int, int, int]
    second_stride: tuple[int, int, int]
    commitment: float  # beta of equation 2
    decay: float  # gamma of equation 3
    bottom_mask_prob: float

    def __post_init__(self):
        positive(self, "hidden", "residual", "residual_layers", "codes", "code_dim")
        share(self, "decay", "bottom_mask_prob")
        for stage in ("first", "second"):
            filters, strides = getattr(self, f"{stage}_filter"), getattr(self, f"{stage}_stride")
            for size, stride in zip(filters, strides, strict=True):
                if stride < 1 or size < stride or (size - stride) % 2:
                    raise SettingsError(
                        f"vqvae.{stage}_filter {list(filters)} must exceed vqvae.{stage}_stride "
                        f"{list(strides)} by an even number along every axis"
                    )


@dataclass(frozen=True)
class TopPrior:
    """Table 4, left column, and Table 5 (`condition_*`)."""

    hidden: int
    residual: int
    layers: int
    kernel: int
    attention_every: int
    heads: int
    dropout: float
    condition_hidden: int
    condition_residual: int
    condition_layers: int

    def __post_init__(self):
        _check_prior(self)


@dataclass(frozen=True)
class BottomPrior:
    """Table 4, right column, and Table 6 (`condition_*`)."""

    hidden: int
    residual: int
    layers: int
    kernel: int
    attention_every: int
    heads: int
    dropout: float
    condition_hidden: int
    condition_residual: int
    condition_layers: int
    past_slices: int

    def __post_init__(self):
        _check_prior(self)
        positive(self, "past_slices")


@dataclass(frozen=True)
class Training:
    steps: int
    batch_size: int
    optimizer: str  # adamw, or muon for the hidden layers
    learning_rate: float
    warmup_steps: int  # linear, then cosine to zero at `steps`
    weight_decay: float
    grad_clip: float  # largest gradient norm
    accumulate: int  # parts that a batch is cut into, one after another, where memory is short
    activation_checkpointing: bool  # compute activations twice instead of keeping them
    compile: bool  # torch.compile; needs a C++ compiler on a CPU
    precision: str
    validate_every: int  # steps
    checkpoint_every: int  # steps
    seed: int

    def __post_init__(self):
        positive(self, "steps", "batch_size", "learning_rate", "grad_clip", "accumulate")
        positive(self, "validate_every", "checkpoint_every")
        one_of(self, "optimizer", ("adamw", "muon"))
        one_of(self, "precision", ("bfloat16", "float32"))
        if self.warmup_steps < 0 or self.weight_decay < 0:
            raise SettingsError("warmup_steps and weight_decay must not be negative")
        if self.batch_size % self.accumulate:
            raise SettingsError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})"
            )


@dataclass(frozen=True)
class PriorTraining(Training):
    average_decay: float  # of the exponential average of the weights, which is what is kept; 0 is no average

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.average_decay < 1:
            raise SettingsError(f"average_decay must lie in [0, 1), not {self.average_decay}")


@dataclass(frozen=True)
class BottomTraining(PriorTraining):
    """How the bottom prior is trained; a batch is of windows, each lending some of its slices."""

    slices_per_window: int

    def __post_init__(self):
        super().__post_init__()
        positive(self, "slices_per_window")


@dataclass(frozen=True)
class Encode:
    batch_size: int

    def __post_init__(self):
        positive(self, "batch_size")


@dataclass(frozen=True)
class Sample:
    temperature: float
    top_k: int | None  # null: every code stays possible
    top_p: float  # nucleus; 1.0 keeps every code
    windows: int | None  # validation windows that are predicted, and judged; null: all
    samples_per_window: int
    batch_size: int
    windows_per_shard: int
    precision: str  # of the priors' weights and caches
    seed: int

    def __post_init__(self):
        one_of(self, "precision", ("bfloat16", "float32"))
        if self.windows is not None:
            positive(self, "windows")
        positive(self, "temperature", "samples_per_window", "batch_size", "windows_per_shard")
        if self.top_k is not None:
            positive(self, "top_k")
        if not 0 < self.top_p <= 1:
            raise SettingsError(f"sample.top_p must lie in (0, 1], not {self.top_p}")


@dataclass(frozen=True)
class Report:
    windows: int  # shown of each kind: the best predicted, the typical and the worst
    predictions: int  # of each window shown; the first are those that were scored
    licences: tuple[str, ...]  # whose clips may be shown; a name stands for all of its versions

    def __post_init__(self):
        positive(self, "windows", "predictions")


@dataclass(frozen=True)
class Settings:
    """The whole of params.yaml."""

    download: Download
    clip: Clip
    window: Window
    vqvae: Vqvae
    train_vqvae: Training
    encode: Encode
    top_prior: TopPrior
    train_top_prior: PriorTraining
    bottom_prior: BottomPrior
    train_bottom_prior: BottomTraining
    sample: Sample
    evaluate: Evaluate
    report: Report

    def __post_init__(self):
        time, height, width = self._total_stride()
        for key, value in (
            ("window.frames", self.window.frames),
            ("window.given", self.window.given),
        ):
            if value % time:
                raise SettingsError(
                    f"{key} ({value}) must be a multiple of {time}, the VQ-VAE's temporal stride"
                )
        size = self.clip.size
        for stride in (height, width):
            if size % stride:
                raise SettingsError(
                    f"clip.size ({size}) must be a multiple of {stride}, the VQ-VAE's spatial stride"
                )
        predicted = (self.window.frames - self.window.given) // self.vqvae.first_stride[0]
        if self.train_bottom_prior.slices_per_window > predicted:
            raise SettingsError(
                f"train_bottom_prior.slices_per_window ({self.train_bottom_prior.slices_per_window}) "
                f"exceeds the {predicted} bottom slices that are predicted"
            )

    def _total_stride(self) -> tuple[int, ...]:
        pairs = zip(self.vqvae.first_stride, self.vqvae.second_stride, strict=True)
        return tuple(first * second for first, second in pairs)


def load_settings(path: str | Path = "params.yaml") -> Settings:
    """Read and check params.yaml; raises SettingsError with one sentence that names the key."""
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return build(Settings, document, "")
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def _check_prior(prior: TopPrior | BottomPrior) -> None:
    positive(prior, "hidden", "residual", "layers", "kernel", "attention_every", "heads")
    positive(prior, "condition_hidden", "condition_residual", "condition_layers")
    if prior.kernel % 2 == 0:
        raise SettingsError(f"kernel must be odd, not {prior.kernel}")
    if prior.hidden % prior.heads:
        raise SettingsError(f"hidden ({prior.hidden}) must be a multiple of heads ({prior.heads})")
    if not 0 <= prior.dropout < 1:
        raise SettingsError(f"dropout must lie in [0, 1), not {prior.dropout}")
