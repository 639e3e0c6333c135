"""`pipeline.py audit`: which data made which model, and where it went."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from vqcast.work.command import add_command

AUDIT_HELP = """\
Which videos, parameters and code made a model; which models ever saw a video. Answers come from content
hashes: dvc.lock in every commit of git, DVC's cache for the tables of old commits, and the lineage events
that each stage run leaves in lineage/ (OpenLineage; commit them with dvc.lock). Nothing is changed.
"""
MODEL_HELP = """\
The chain from a model back to every source: each stage with the hashes of what it read and made, its
parameters and code, and the run that made it (who, when, how long, where, from which commit, resumed from
what); the videos counted by split, source, label and licence.
"""
MODEL_EPILOG = """\
exit codes:
  0  the chain is told, whole
  1  a part of it is lost (told as LOST), or there is no such model or revision; the last line says which
  2  the command line is wrong

examples:
  python pipeline.py audit model models/top_prior
  python pipeline.py audit model models/vqvae --rev v1.2 --videos
  python pipeline.py audit model models/top_prior --json | jq .by_licence
"""
VIDEO_HELP = """\
What became of a video, and of the same bytes under any other id: its clips and shards, every model of every
commit that was trained on it, those that it was only validated on, and the files that still hold bytes of it.
The first call builds an index in .vqcast/, which later ones extend, or make anew where it was edited.
"""
VIDEO_EPILOG = """\
exit codes:
  0  the video is known, and so is what every model of every commit was made from
  1  no commit knows it; or it cannot be known who saw it, because tables or commits are not here, as in a
     shallow clone (told as LOST)
  2  the command line is wrong

examples:
  python pipeline.py audit video train-00003                 by its id in data/raw.parquet
  python pipeline.py audit video dQw4w9WgXcQ                 all segments of a YouTube video
  python pipeline.py audit video ~/holiday-renamed.mp4       a file, by its content
  python pipeline.py audit video --json train-00003 | jq '.trained[] | select(.current)'
  python pipeline.py audit video -- -4wsuPCjDBc              an id that starts with a dash
"""
DIFF_HELP = """\
What changed between the models of two revisions: videos that came and went, parameters, code, metrics. A
revision is whatever git takes for one, or `workspace`: what lies in this folder, committed or not.
"""
DIFF_EPILOG = """\
exit codes:
  0  the changes are told, all of them
  1  a table or the metrics of a side are lost (told as LOST), or there is no such revision
  2  the command line is wrong

examples:
  python pipeline.py audit diff HEAD~1 HEAD
  python pipeline.py audit diff v1.2 workspace --json
"""
VERIFY_HELP = """\
Read everything on disk and compare it: outs with dvc.lock, dvc.lock with dvc.yaml, params.yaml and the code,
rows with what is in the shards, latent shards with their VQ-VAE, weights with their config, downloaded files
with data/raw.parquet, what each run read, ran with and made with dvc.lock. Each file that differs is named.
"""
VERIFY_EPILOG = """\
exit codes:
  0  everything is as it should be
  1  something differs; each line names a file. Or it cannot be known, because it is not here (told as LOST)
  2  the command line is wrong

examples:
  python pipeline.py audit verify
  python pipeline.py audit verify --json | jq -r .faults[].file
"""
PROVE_HELP = """\
Make a model again from its commit, in a clean clone with an empty cache, stage by stage, and compare every
byte with what dvc.lock says. Takes as long as the stages take. Trained weights are the same on the same kind
of CPU; device, processes and threads are set as the lineage recorded them, and what differs here is noted.
Videos of Kinetics are taken from data/raw by their hashes; one's own from where params.yaml says.
"""
PROVE_EPILOG = """\
exit codes:
  0  the model is what its commit makes, byte for byte
  1  it is not: the last line names the stage and why; or there is nothing to prove from
  2  the command line is wrong
  130, 143  ended by Ctrl-C, by SIGTERM

examples:
  python pipeline.py audit prove models/top_prior
  python pipeline.py audit prove models/vqvae --rev v1.2 --keep
"""


def add_audit(commands: argparse._SubParsersAction) -> None:
    """Add `audit` and its subcommands to the parsers of pipeline.py."""
    audit = commands.add_parser(
        "audit",
        help="which data made which model, which model saw which video, and is it all as it was",
        description=AUDIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    questions = audit.add_subparsers(title="questions", required=True, metavar="QUESTION")

    model = _add(questions, "model", "what a model was made from", MODEL_HELP, MODEL_EPILOG, _model)
    model.add_argument("model", metavar="MODEL", help="its folder, such as models/top_prior")
    model.add_argument("--rev", default="workspace", help="the revision to look at (default: this folder)")
    model.add_argument("--videos", action="store_true", help="list each video with URL, span and hash")

    video = _add(questions, "video", "which models saw a video", VIDEO_HELP, VIDEO_EPILOG, _video)
    video.add_argument(
        "video", metavar="ID|FILE", help="an id of a video, clip or YouTube; a file; a SHA-256"
    )

    diff = _add(questions, "diff", "what changed between two revisions", DIFF_HELP, DIFF_EPILOG, _diff)
    diff.add_argument("before", metavar="REV")
    diff.add_argument("after", metavar="REV")

    _add(questions, "verify", "everything on disk against its hash", VERIFY_HELP, VERIFY_EPILOG, _verify)

    prove = _add(questions, "prove", "make a model again and compare", PROVE_HELP, PROVE_EPILOG, _prove)
    prove.add_argument("model", metavar="MODEL", help="its folder, such as models/top_prior")
    prove.add_argument("--rev", default="HEAD", help="the commit to prove it from (default: HEAD)")
    prove.add_argument("--keep", action="store_true", help="leave the clone in .vqcast/prove")


def _add(
    questions: argparse._SubParsersAction,
    name: str,
    short: str,
    description: str,
    epilog: str,
    answer: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = add_command(questions, name, short, description, epilog, answer)
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


# Imports stand in the functions: they take seconds, which --help need not wait for.


def _model(arguments: argparse.Namespace) -> int:
    from vqcast.lineage.evidence import Evidence
    from vqcast.lineage.model import audit_model, tell_model

    report = audit_model(Evidence(Path.cwd()), arguments.model, arguments.rev, arguments.videos)
    return _answer(report, tell_model, arguments.json, bool(report["lost"]))


def _video(arguments: argparse.Namespace) -> int:
    from vqcast.lineage.evidence import Evidence
    from vqcast.lineage.video import audit_video, tell_video_report

    report = audit_video(Evidence(Path.cwd()), arguments.video)
    return _answer(report, tell_video_report, arguments.json, bool(report["lost"] or report["unknown"]))


def _diff(arguments: argparse.Namespace) -> int:
    from vqcast.lineage.diff import audit_diff, tell_diff
    from vqcast.lineage.evidence import Evidence

    report = audit_diff(Evidence(Path.cwd()), arguments.before, arguments.after)
    return _answer(report, tell_diff, arguments.json, bool(report["lost"]))


def _verify(arguments: argparse.Namespace) -> int:
    from vqcast.lineage.evidence import Evidence
    from vqcast.lineage.verify import audit_verify, tell_verify

    report = audit_verify(Evidence(Path.cwd()))
    return _answer(report, tell_verify, arguments.json, bool(report["faults"] or report["lost"]))


def _prove(arguments: argparse.Namespace) -> int:
    from vqcast.lineage.evidence import Evidence
    from vqcast.lineage.prove import audit_prove, tell_prove

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    report = audit_prove(Evidence(Path.cwd()), arguments.model, arguments.rev, arguments.keep, say)
    return _answer(report, tell_prove, arguments.json, not report["proved"])


def _answer(report: dict, tell: Callable[[dict], list[str]], as_json: bool, wrong: bool) -> int:
    print(json.dumps(report, indent=1) if as_json else "\n".join(tell(report)))
    return int(wrong)
