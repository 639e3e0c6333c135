"""`pipeline.py rate`: the human study, served on loopback."""

import argparse

from vqcast.work.command import add_command, options_of

RATE_HELP = """\
The human study of the paper (Table 1): a web page on which people compare the predictions of two systems, A
and B, side by side. Both continue the same given frames; sides and order are random and balanced. A rater
enters a code, says which is better, or that they are too close to tell, and may stop and go on at any time.

A and B are folders. One that the sample stage wrote (data/samples) is read as it is, sample 0 of each window.
For any other system, name its files by window id: <window id>.mp4 (or .webm, .mkv, .avi, .mov, .gif), or
<window id>.npy of uint8 (T, H, W, 3), each holding the predicted frames alone or the whole window. Slashes in
an id are folders. What is compared is chosen by chance among the windows that both predicted, from as many
clips as there are, and is the same whenever the same folders are compared.

Every answer is in the file of answers before the next video is shown. The command prints the codes for the
raters, and the address of the results: the three shares with 95% intervals clustered by rater, the same by
label, the agreement between raters, and all judgements as CSV.
"""

RATE_EPILOG = """\
exit codes:
  0         the answers so far were written (--csv)
  1         it could not start, or went wrong; the last line says why
  2         the command line is wrong
  130, 143  ended by Ctrl-C, by SIGTERM; the same command goes on from there

examples:
  python pipeline.py rate data/samples other/predictions
  python pipeline.py rate data/samples other/predictions --csv judgements.csv
"""


def add_rate(commands: argparse._SubParsersAction) -> None:
    """Add `rate` to the parsers of pipeline.py."""
    summary = "let people compare the predictions of two systems"
    parser = add_command(commands, "rate", summary, RATE_HELP, RATE_EPILOG, _rate)
    parser.add_argument("a", metavar="A", help="folder of predictions")
    parser.add_argument("b", metavar="B", help="folder of predictions of the same windows")
    add = parser.add_argument
    add("--answers", default="reports/ratings.sqlite", metavar="FILE", help="default: %(default)s")
    add("--videos", type=int, default=30, metavar="N", help="compared; default: %(default)s, as in the paper")
    add("--judgements", type=int, default=13, metavar="N", help="of a video; default: %(default)s, as there")
    add("--raters", type=int, default=15, metavar="N", help="who get a code; default: %(default)s, as there")
    add("--fps", type=float, default=8.0, metavar="N", help="frames/s shown; default: %(default)g")
    add("--csv", metavar="FILE", help="write the judgements so far, print the shares, and end")
    add("--clips", default="data/clips", metavar="FOLDER", help="clip shards; default: %(default)s")
    add(
        "--manifest",
        default="data/clips.parquet",
        metavar="FILE",
        help="table of the clips, if there is one; default: %(default)s",
    )
    add("--host", default="127.0.0.1", help="address to serve at; default: %(default)s, this machine alone")
    add("--port", type=int, default=8500, metavar="N", help="0 is any that is free; default: %(default)s")


def _rate(arguments: argparse.Namespace) -> int:
    from vqcast.rating.rate import Rating, rate  # takes seconds, which --help need not wait for

    rate(Rating(**options_of(arguments)))
    return 0
