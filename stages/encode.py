"""Encode every window of every clip once, its given frames alone too, into latent shards."""

from pathlib import Path

from vqcast.clips.windows import Clips
from vqcast.codes.encoding import Encoder, shards_to_encode
from vqcast.codes.latents import LatentManifest, write_codebooks
from vqcast.codes.models import load_vqvae, read_config
from vqcast.networks.grids import Grids
from vqcast.settings.params import load_settings
from vqcast.work.files import clear_scratch, open_scratch, publish_directory, sha256_file
from vqcast.work.stage import run_stage, stage_parser


def main() -> None:
    arguments = stage_parser(
        "encode",
        __doc__,
        "clips",
        "manifest",
        "vqvae",
        out="folder of latent shards to write",
    ).parse_args()
    settings = load_settings()
    config_file = f"{arguments.vqvae}/config.json"
    scratch = open_scratch("encode", [settings.window, settings.encode], [config_file])

    config = read_config(arguments.vqvae, "vqvae")
    shards = shards_to_encode(Clips(arguments.clips, arguments.manifest), settings.window)
    encoder = Encoder(
        arguments.vqvae,
        config["sha256"],
        settings.window,
        settings.encode.batch_size,
        Path(arguments.clips),
        scratch / "shards",
    )
    keys = {shard.name: shard.clips for shard in shards}
    whole = encoder.finished.whole(keys.values())
    encoder.encode_all([shard for shard in shards if shard.clips not in whole])

    folder = scratch / "published"
    encoder.finished.publish_into(folder, keys)
    vqvae = load_vqvae(arguments.vqvae)
    codebooks = write_codebooks(folder, vqvae.quantize_top.codebook, vqvae.quantize_bottom.codebook)
    notes = {name: encoder.finished.note(key) for name, key in keys.items()}
    manifest = LatentManifest(
        codes=config["settings"]["codes"],
        given=settings.window.given,
        grids=Grids.of(settings.window, config["size"], vqvae.settings),
        vqvae=config["sha256"],
        clips=keys,
        files={name: note["sha256"] for name, note in notes.items()}
        | {codebooks.name: sha256_file(codebooks)},
        footers={name: note["footer"] for name, note in notes.items()},
        sees_given=vqvae.settings.sees_given,
    )
    manifest.write(folder)
    publish_directory(folder, arguments.out)
    encoder.finished.keep_only(keys.values())
    clear_scratch("encode", keep=scratch)


if __name__ == "__main__":
    run_stage(main)
