"""The section `evaluate` of params.yaml: how predictions are judged."""

import re
from dataclasses import dataclass

from vqcast.settings.checks import SettingsError, one_of, positive

SPACES = ("i3d", "transnet")
OWN_SYSTEMS = ("model", "reconstruction", "repeat_last_frame", "expectation", "true")


@dataclass(frozen=True)
class OtherSystem:
    """Predictions of another system, to be judged as the model's are."""

    name: str
    path: str  # in data/systems: a folder of videos or an .npy array: docs/evaluation.md
    about: str  # what it is, as the tables say it

    def __post_init__(self):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*", self.name) or self.name in OWN_SYSTEMS:
            raise SettingsError(
                f"systems.name must be of letters, digits, spaces and . _ + -, and none of "
                f"{', '.join(OWN_SYSTEMS)}, not {self.name!r}"
            )


@dataclass(frozen=True)
class Evaluate:
    """How predictions are judged.

    weights: null, and the metric is `frechet_random_i3d`, by random weights; or where I3D's published
    weights are, and it is FVD. A path, or a URL with the hash of the file: `URL#sha256=HASH`, or
    `URL#git=HASH`, as git names its content. The file: DeepMind's TensorFlow checkpoint `rgb_scratch` (its
    .data-00000-of-00001), or a PyTorch conversion of it.
    """

    batch_size: int
    weights: str | None
    resolution: int  # pixels at which I3D sees the videos; FVD's own is 224
    sizes: tuple[int, ...]  # pixels; larger videos are judged as they are, and shrunk to each of these too
    spaces: tuple[str, ...]  # of features; the Frechet distance in the first is what a model is promoted by
    frames: str  # which frames they are of
    tuning_share: float  # of the validation videos, on which settings are chosen; figures are of the others
    folds: int  # the windows are judged in so many parts, for mean and spread
    precision: str  # of I3D's convolutions
    moving_below_psnr: float  # dB; a window moves when its repeated last frame scores less
    systems: tuple[OtherSystem, ...]

    def __post_init__(self):
        positive(self, "batch_size", "resolution", "folds", "moving_below_psnr")
        if not 0 <= self.tuning_share < 1:
            raise SettingsError(f"tuning_share must lie in 0..1, below 1, not {self.tuning_share}")
        one_of(self, "frames", ("predicted", "all"))
        if not self.spaces or len({*self.spaces}) < len(self.spaces) or not {*self.spaces} <= {*SPACES}:
            raise SettingsError(f"spaces must be some of {', '.join(SPACES)}, not {list(self.spaces)}")
        one_of(self, "precision", ("bfloat16", "float32"))
        if any(size < 1 for size in self.sizes):
            raise SettingsError(f"sizes must be greater than 0, not {list(self.sizes)}")
        names = [system.name for system in self.systems]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"systems names {name!r} twice")
        if self.weights is None:
            return
        if "://" in self.weights:
            split_weights_url(self.weights)
        if (self.resolution, self.precision) != (224, "float32"):
            raise SettingsError(
                "resolution must be 224 and precision float32 where weights are given, as FVD is defined by, "
                f"not {self.resolution} and {self.precision}"
            )


def split_weights_url(weights: str) -> tuple[str, str, str]:
    """The URL, the kind of hash (`sha256` or `git`) and the hash that `evaluate.weights` states."""
    parts = re.fullmatch(r"(https?://[^#]+)#(?:(sha256)=([0-9a-f]{64})|(git)=([0-9a-f]{40}))", weights)
    if parts is None:
        raise SettingsError(
            f"weights must be a path, or a URL with the file's hash as #sha256=... or #git=... behind it, "
            f"not {weights!r}"
        )
    url, *kind_and_hash = (part for part in parts.groups() if part)
    return url, *kind_and_hash
