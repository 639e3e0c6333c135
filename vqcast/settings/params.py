"""params.yaml as frozen, typed, checked settings; read once, at the edge.

Every section of params.yaml is a dataclass of this package, which states what its keys mean and checks itself
when it is made; `Settings` checks what sections must agree on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vqcast.settings.checks import SettingsError, build, one_of, positive
from vqcast.settings.data import Clip, Download, Window
from vqcast.settings.evaluate import Evaluate
from vqcast.settings.networks import BottomPrior, Expectation, TopPrior, Vqvae
from vqcast.settings.training import BottomTraining, PriorTraining, VqvaeTraining


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
    expectation: Expectation
    train_vqvae: VqvaeTraining
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
        size = self.clip.resolution
        for stride in (height, width):
            if size % stride:
                raise SettingsError(
                    f"clip.resolution ({size}) must be a multiple of {stride}, the VQ-VAE's spatial stride"
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
    document = read_params(path)
    try:
        return build(Settings, document, "")
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def read_params(path: str | Path) -> dict:
    """The content of params.yaml, read as DVC reads it: YAML 1.2.

    SettingsError where there is none, and where a value is written in a way that YAML 1.1 reads differently:
    whoever wrote it may have meant that.
    """
    path = Path(path)
    try:
        text = path.read_text()
        document, doubtful = YAML(typ="safe").load(text), yaml.safe_load(text)
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist") from None
    except (YAMLError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: the file must be a mapping of parameters")
    for key, value, other in _differing(document, doubtful, ""):
        raise SettingsError(
            f"{path}: {key} may be meant as {value!r} or as {other!r}, by YAML 1.2 or 1.1; write it so that "
            "both read the same, such as 10, 1.0e-05, true or '12:30'"
        )
    return document


def _differing(value: object, other: object, key: str) -> Iterator[tuple[str, object, object]]:
    """Dotted key and both values wherever two readings differ."""
    if isinstance(value, dict) and isinstance(other, dict) and len(value) == len(other):
        for (name, one), (another, two) in zip(value.items(), other.items(), strict=True):
            inner = f"{key}.{name}".lstrip(".")
            yield from _differing(name, another, f"the name {inner}")
            yield from _differing(one, two, inner)
    elif isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        for number, (one, two) in enumerate(zip(value, other, strict=True)):
            yield from _differing(one, two, f"{key}[{number}]")
    elif repr(value) != repr(other):
        yield key, value, other
