"""Trained models on disk: `model.safetensors`, and `config.json` with all it takes to build the network."""

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vqcast.codes.latents import LatentManifest
from vqcast.errors import VqcastError
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.sighted import SightedVQVAE
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import VQVAE
from vqcast.settings.networks import BottomPrior, Expectation, TopPrior, Vqvae
from vqcast.work.environment import on_device
from vqcast.work.files import sha256_file


class ModelError(VqcastError):
    """A model folder is missing, damaged, or not what it is used as."""


def save_model(
    folder: Path, network: nn.Module, kind: str, settings: dict[str, object], **more: object
) -> None:
    """Write a model into `folder`; `more` goes into config.json beside its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = folder / "model.safetensors"
    save_file(tensors, weights)
    config = {"kind": kind, "settings": settings, "sha256": sha256_file(weights), **more}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def save_vqvae(folder: Path, network: VQVAE, size: int) -> None:
    """Write a VQ-VAE into `folder`, with the size of the frames that it was trained on."""
    settings = dataclasses.asdict(network.settings)
    more = {}
    if settings.pop("sees_given"):
        expected = network.expectation
        sight = {"settings": dataclasses.asdict(network.expectation_settings)}
        more["sight"] = sight | {"given": expected.given, "predicted": expected.predicted}
    save_model(folder, network, "vqvae", settings, size=size, **more)


def save_prior(
    folder: Path, network: nn.Module, kind: str, settings: object, latents: LatentManifest
) -> None:
    """Write a prior into `folder`, with the codes and the VQ-VAE it belongs to."""
    grids = dataclasses.asdict(latents.grids)
    stated = dataclasses.asdict(settings)
    save_model(folder, network, kind, stated, codes=latents.codes, grids=grids, vqvae=latents.vqvae)


def load_vqvae(folder: str | Path) -> VQVAE:
    """The VQ-VAE in `folder`, in eval mode, on the device networks run on."""
    config = read_config(folder, "vqvae")
    sight = config.get("sight")  # none is the paper's
    config["settings"]["sees_given"] = sight is not None
    settings = _settings(Vqvae, config, folder)
    if sight is None:
        return _load(VQVAE(settings), folder, config)
    expectation = _settings(Expectation, sight, folder)
    return _load(SightedVQVAE(settings, expectation, sight["given"], sight["predicted"]), folder, config)


def load_top_prior(folder: str | Path) -> TopPriorNetwork:
    """The top prior in `folder`, in eval mode, on the device networks run on."""
    config = read_config(folder, "top_prior")
    settings = _settings(TopPrior, config, folder)
    return _load(TopPriorNetwork(settings, config["codes"], _grids(config)), folder, config)


def load_bottom_prior(folder: str | Path) -> BottomPriorNetwork:
    """The bottom prior in `folder`, in eval mode, on the device networks run on."""
    config = read_config(folder, "bottom_prior")
    settings = _settings(BottomPrior, config, folder)
    return _load(BottomPriorNetwork(settings, config["codes"], _grids(config)), folder, config)


def read_config(folder: str | Path, kind: str) -> dict:
    """config.json of a model folder; raises ModelError if it is missing, damaged or of another kind."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text())
        found = config["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{path} is missing or damaged; train the model again") from None
    if found != kind:
        raise ModelError(f"{folder} holds a {found}, not a {kind}")
    return config


def check_same_vqvae(latents: LatentManifest, vqvae: str, top_prior: str, bottom_prior: str) -> None:
    """Raise ModelError unless these model folders and the latent shards share one VQ-VAE."""
    if read_config(vqvae, "vqvae")["sha256"] != latents.vqvae:
        raise ModelError(f"{vqvae} is not the VQ-VAE that the latent shards were encoded with")
    for folder, kind in ((top_prior, "top_prior"), (bottom_prior, "bottom_prior")):
        if read_config(folder, kind)["vqvae"] != latents.vqvae:
            raise ModelError(f"{folder} was trained on the codes of another VQ-VAE; train it again")


def _settings(cls: type, config: dict, folder: str | Path):
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in config["settings"].items()}
    try:
        return cls(**fields)
    except TypeError:
        raise ModelError(f"{folder} was made by another version of vqcast; train it again") from None


def _grids(config: dict) -> Grids:
    return Grids(**{k: tuple(v) if isinstance(v, list) else v for k, v in config["grids"].items()})


def _load(network: nn.Module, folder: str | Path, config: dict) -> nn.Module:
    weights = Path(folder) / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{weights} is missing")
    if sha256_file(weights) != config["sha256"]:
        raise ModelError(f"{weights} is damaged: its hash is not the one that config.json states")
    try:
        network.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError):
        raise ModelError(f"{weights} does not fit the settings in its config.json") from None
    return on_device(network).eval()
