"""`pipeline.py predict`: a video in, its continuations side by side out."""

import argparse

from vqcast.work.command import add_command, options_of

PREDICT_HELP = """\
Continue a video: the frames from --start on are given to the trained models, which predict the next ones,
several times. What comes out is one picture of all continuations side by side: around given frames the border
is grey, around predicted ones orange. As far as the video goes, what really followed is beside them.

--frames N rolls on for as long as you like, window after window: the last predicted frames become the given
ones, pixel for pixel. A window costs what the first did, and memory does not grow. The first is drawn with
--seed, the next with --seed + 1, and so on.

Any size, rate, rotation and codec that ffmpeg reads will do; the centre square is taken, as in training. The
same video, models and seed give the same picture on the same machine.
"""

PREDICT_EPILOG = """\
environment:
  VQCAST_DEVICE   where networks run: cpu, cuda, cuda:1, ... (default: cuda where there is one, else cpu)
  VQCAST_THREADS  CPU threads (default: 1, or all cores beside a GPU)

exit codes:
  0    the picture was written
  1    it could not be; the last line says why
  2    the command line is wrong
  130  ended by Ctrl-C

examples:
  python pipeline.py predict holiday.mov --start 12.5
  python pipeline.py predict holiday.mov --samples 8 --out holiday.gif
  python pipeline.py predict holiday.mov --frames 60
  python pipeline.py predict holiday.mov --rev v1.0 --out frames     with the models of tag v1.0, as a folder
"""


def add_predict(commands: argparse._SubParsersAction) -> None:
    """Add `predict` to the parsers of pipeline.py."""
    parser = add_command(commands, "predict", "continue a video", PREDICT_HELP, PREDICT_EPILOG, _predict)
    parser.add_argument("video", metavar="VIDEO", help="file to continue")
    add = parser.add_argument
    add("--start", type=float, default=0.0, metavar="S", help="seconds; default: %(default)g")
    add("--samples", type=int, default=4, metavar="N", help="continuations; default: %(default)s")
    add(
        "--frames",
        type=int,
        metavar="N",
        help="how far, in predicted frames; default: as far as one window goes (12 of 16 frames, as a rule)",
    )
    add(
        "--out",
        metavar="FILE",
        help="ending with .mp4 or .gif, or a folder of frames; default: VIDEO's name, -predicted.mp4",
    )
    add("--rev", metavar="R", help="git revision whose models predict; default: those of this checkout")
    add("--seed", type=int, metavar="N", help="default: sample.seed of params.yaml")
    add("--fps", type=int, default=8, metavar="N", help="frames/s of the picture; default: %(default)s")


def _predict(arguments: argparse.Namespace) -> int:
    from vqcast.prediction.predict import Prediction, predict  # takes seconds, which --help need not wait for

    predict(Prediction(**options_of(arguments)))
    return 0
