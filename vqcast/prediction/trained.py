"""The trained models that predict: those of this checkout, or of any git revision, out of the DVC cache."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqcast.codes.models import ModelError, load_bottom_prior, load_top_prior, load_vqvae, read_config
from vqcast.errors import VqcastError
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import VQVAE
from vqcast.settings.checks import SettingsError, build
from vqcast.settings.data import Clip
from vqcast.settings.params import Sample, load_settings, read_params

PARAMS = "params.yaml"
NAMES = ("vqvae", "top_prior", "bottom_prior")


@dataclass(frozen=True)
class Trained:
    """Three networks that belong together, and how clips are made and codes drawn for them."""

    vqvae: VQVAE
    top_prior: TopPriorNetwork
    bottom_prior: BottomPriorNetwork
    size: int  # pixels, height and width of a frame
    frames: int  # of a window
    given: int
    clip: Clip
    sample: Sample

    @property
    def predicted(self) -> int:
        """How many frames of a window are predicted."""
        return self.frames - self.given


def load_trained(folder: str | Path, rev: str | None) -> Trained:
    """The models of the project in `folder`: as they lie there, or as git revision `rev` has them.

    A revision's are copied from the DVC cache, or from the remote where the cache lacks them; the workspace
    is not touched. Raises VqcastError.
    """
    if rev is None:
        settings = load_settings(Path(folder) / PARAMS)
        return _load(Path(folder) / "models", settings.clip, settings.sample)
    with _of_revision(folder, rev) as copied:
        try:
            document = read_params(copied / PARAMS)
            # No more than is needed: other sections may have changed since.
            clip, sample = (
                build(cls, document[name], f"{name}.") for name, cls in (("clip", Clip), ("sample", Sample))
            )
        except (SettingsError, TypeError, KeyError) as error:
            raise VqcastError(f"{PARAMS} of {rev} does not fit this version of vqcast: {error}") from None
        return _load(copied / "models", clip, sample)


def _load(models: Path, clip: Clip, sample: Sample) -> Trained:
    folders = {name: models / name for name in NAMES}
    for name, folder in folders.items():
        if not folder.is_dir():
            raise ModelError(f"there is no model {name} in {models}; train it: dvc repro train_{name}")
    configs = {name: read_config(folder, name) for name, folder in folders.items()}
    for name in ("top_prior", "bottom_prior"):
        if configs[name]["vqvae"] != configs["vqvae"]["sha256"]:
            raise ModelError(
                f"{folders[name]} was trained on the codes of another VQ-VAE than {folders['vqvae']}; "
                f"train it again: dvc repro train_{name}"
            )
    networks = [
        load(folder)
        for load, folder in zip(
            (load_vqvae, load_top_prior, load_bottom_prior), folders.values(), strict=True
        )
    ]
    grids, stride = networks[1].grids, configs["vqvae"]["settings"]["first_stride"][0]
    return Trained(
        *networks,
        size=configs["vqvae"]["size"],
        frames=grids.bottom[0] * stride,
        given=grids.prefix_bottom * stride,
        clip=clip,
        sample=sample,
    )


@contextlib.contextmanager
def _of_revision(folder: str | Path, rev: str) -> Iterator[Path]:
    """A passing folder with the parameters and the models of a revision."""
    # Here, not above: DVC takes a second to import, and most predictions do without.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    with tempfile.TemporaryDirectory() as copied:
        try:
            files = DVCFileSystem(str(folder), rev=rev)
            files.get(PARAMS, f"{copied}/{PARAMS}")
        except (DvcException, SCMError, OSError) as error:
            raise VqcastError(f"revision {rev!r} cannot be read: {_sentence(error)}") from None
        for name in NAMES:
            try:
                files.get(f"models/{name}", f"{copied}/models/{name}", recursive=True)
            except (DvcException, OSError):
                raise ModelError(
                    f"the model {name} of {rev} is not in the DVC cache; fetch it: dvc fetch --all-commits, "
                    "or train it there"
                ) from None
        yield Path(copied)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())
