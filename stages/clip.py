"""Cut the downloaded videos into short, small, square clips, kept in shards for random access."""

import argparse

from vqcast.clips.clips import make_clips, shaping_clips
from vqcast.settings.params import load_settings
from vqcast.sources.exclusions import read_exclusions
from vqcast.sources.manifest import CLIPS, write_manifest
from vqcast.work.files import clear_scratch, open_scratch
from vqcast.work.stage import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.clip", description=__doc__)
    parser.add_argument("--raw", required=True, help="table of the downloaded videos")
    parser.add_argument("--store", required=True, help="folder of the downloaded files")
    parser.add_argument("--exclude", required=True, help="table of the videos to leave out: id, reason, date")
    parser.add_argument("--out", required=True, help="folder of shards to write")
    parser.add_argument("--manifest", required=True, help="table to write: a row a clip, rejected ones too")
    arguments = parser.parse_args()
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
