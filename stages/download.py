"""Fetch the videos of params.yaml's `download.source` into a store, and pin them in a table.

The store is kept from run to run: what it holds already is not fetched again.
"""

import argparse

from vqcast.settings.params import load_settings
from vqcast.sources.download import download
from vqcast.work.stage import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.download", description=__doc__)
    parser.add_argument("--store", required=True, help="folder of the downloaded files, kept from run to run")
    parser.add_argument("--kinetics", required=True, help="folder of the annotation files that are no URLs")
    parser.add_argument("--exclude", required=True, help="table of the videos to leave out: id, reason, date")
    parser.add_argument("--out", required=True, help="table to write: a row a video, failed ones too")
    arguments = parser.parse_args()
    settings = load_settings()
    download(settings.download, arguments.kinetics, arguments.store, arguments.exclude, arguments.out)


if __name__ == "__main__":
    run_stage(main)
