"""Cut the downloaded videos into short, small, square clips, kept in shards for random access."""

from vqcast.clips.clips import make_clips, shaping_clips
from vqcast.settings.params import load_settings
from vqcast.sources.exclusions import read_exclusions
from vqcast.sources.manifest import CLIPS, write_manifest
from vqcast.work.files import clear_scratch, open_scratch
from vqcast.work.stage import run_stage, stage_parser


def main() -> None:
    arguments = stage_parser(
        "clip",
        __doc__,
        "exclude",
        raw="table of the downloaded videos",
        store="folder of the downloaded files",
        out="folder of shards to write",
        manifest="table to write: a row a clip, rejected ones too",
    ).parse_args()
    settings = load_settings()
    clip, frames = settings.clip, settings.window.frames
    scratch = open_scratch("clip", [shaping_clips(clip), frames], [])
    rows = make_clips(
        clip,
        frames,
        arguments.raw,
        arguments.store,
        read_exclusions(arguments.exclude),
        scratch,
        arguments.out,
    )
    write_manifest(rows, CLIPS, arguments.manifest)
    clear_scratch("clip", keep=scratch)


if __name__ == "__main__":
    run_stage(main)
