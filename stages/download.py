"""Fetch the videos of params.yaml's `download.source` into a store, and pin them in a table.

The store is kept from run to run: what it holds already is not fetched again.
"""

from vqcast.settings.params import load_settings
from vqcast.sources.download import download
from vqcast.work.stage import run_stage, stage_arguments


def main() -> None:
    arguments = stage_arguments(
        "download",
        __doc__,
        store="folder of the downloaded files, kept from run to run",
        kinetics="folder of the annotation files that are no URLs",
        exclude="table of the videos to leave out: id, reason, date",
        out="table to write: a row a video, failed ones too",
    )
    settings = load_settings()
    download(settings.download, arguments.kinetics, arguments.store, arguments.exclude, arguments.out)


if __name__ == "__main__":
    run_stage(main)
