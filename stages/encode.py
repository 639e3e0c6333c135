"""Encode every window of every clip once, its given frames alone too, into latent shards."""

import argparse

from vqcast.encoding import Encoding, encode_windows
from vqcast.files import clear_scratch, open_scratch, publish_directory, sha256_file
from vqcast.latents import LatentManifest, write_codebooks
from vqcast.models import load_vqvae, read_config
from vqcast.networks.grids import Grids
from vqcast.settings import load_settings
from vqcast.stage import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.encode", description=__doc__)
    parser.add_argument("--clips", required=True, help="folder of clip shards")
    parser.add_argument("--manifest", required=True, help="table of the clips")
    parser.add_argument("--vqvae", required=True, help="model folder of the VQ-VAE")
    parser.add_argument("--out", required=True, help="folder of latent shards to write")
    arguments = parser.parse_args()
    settings = load_settings()
    config_file = f"{arguments.vqvae}/config.json"
    scratch = open_scratch("encode", [settings.window, settings.encode], [arguments.manifest, config_file])

    vqvae = load_vqvae(arguments.vqvae)
    config = read_config(arguments.vqvae, "vqvae")
    places = (arguments.clips, arguments.manifest, arguments.vqvae)
    folder = scratch / "latents"
    folder.mkdir(exist_ok=True)
    files = encode_windows(Encoding(*places, settings.window, settings.encode), folder)
    files.append(write_codebooks(folder, vqvae.quantize_top.codebook, vqvae.quantize_bottom.codebook))
    manifest = LatentManifest(
        codes=config["settings"]["codes"],
        given=settings.window.given,
        grids=Grids.of(settings.window, config["size"], vqvae.settings),
        vqvae=config["sha256"],
        clips=sha256_file(arguments.manifest),
        files={path.name: sha256_file(path) for path in files},
    )
    manifest.write(folder)
    publish_directory(folder, arguments.out)
    clear_scratch("encode")


if __name__ == "__main__":
    run_stage(main)
