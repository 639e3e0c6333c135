"""What every stage's command line has in common."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from vqcast.errors import TransientError, VqcastError
from vqcast.work.git import forget_callers_repository
from vqcast.work.lifeline import die_with_parent
from vqcast.work.record import recorded


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`: one sentence and exit code 1 for what a user can mend, 75 for what
    may pass by itself; never an orphan. The lineage keeps who ran it, where, and what came of it."""
    die_with_parent()
    forget_callers_repository()
    stage = Path(sys.argv[0]).stem
    try:
        with recorded(stage):
            main()
    except TransientError as error:
        print(f"{stage}: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except VqcastError as error:
        sys.exit(f"{stage}: {error}")
    except KeyboardInterrupt:
        print(f"{stage}: interrupted; run it again to go on from here", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or error.strerror
        sys.exit(f"{stage}: the disk is full ({where}); free some space and run it again")


PLACES = {  # that several stages read
    "exclude": "table of the videos to leave out: id, reason, date",
    "clips": "folder of clip shards",
    "manifest": "table of the clips",
    "latents": "folder of latent shards",
    "vqvae": "model folder of the VQ-VAE",
    "top_prior": "model folder of the top prior",
    "bottom_prior": "model folder of the bottom prior",
    "samples": "folder of samples",
}


def stage_parser(stage: str, about: str, *places: str, **options: str) -> argparse.ArgumentParser:
    """The command line of a stage: each of `places`, which PLACES tells of, and of `options` must be given.

    about: what the stage does, in its module's own words. options: the help of each, by its name.
    """
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=about)
    for name, what in ({place: PLACES[place] for place in places} | options).items():
        parser.add_argument(f"--{name.replace('_', '-')}", required=True, help=what)
    return parser
