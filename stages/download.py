"""Fetch the videos of params.yaml's `download.source` into a store, and pin them in a table.

The store is kept from run to run: what it holds already is not fetched again.
"""

from vqcast.settings.params import load_settings
from vqcast.sources.download import download
from vqcast.work.stage import run_stage, stage_parser


def main() -> None:
    arguments = stage_parser(
        "download",
        __doc__,
        "exclude",
        store="folder of the downloaded files, kept from run to run",
        kinetics="folder of the annotation files that are no URLs",
        out="table to write: a row a video, failed ones too",
    ).parse_args()
    settings = load_settings()
    download(settings.download, arguments.kinetics, arguments.store, arguments.exclude, arguments.out)


if __name__ == "__main__":
    run_stage(main)
