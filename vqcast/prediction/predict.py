"""What `pipeline.py predict` does: a video in, its continuations side by side out."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vqcast.errors import VqcastError
from vqcast.prediction.continuation import Beginning, codes_to_draw, read_beginning, roll_on
from vqcast.prediction.picture import check_out, save, side_by_side
from vqcast.prediction.trained import load_trained
from vqcast.work.environment import prepare_networks

MOST_SAMPLES, MOST_FRAMES = 100, 10**6


@dataclass(frozen=True)
class Prediction:
    """The command line of `pipeline.py predict`."""

    video: str
    start: float  # seconds
    samples: int
    frames: int | None  # predicted ones; None: those of a window
    out: str | None
    rev: str | None
    seed: int | None
    fps: int

    def __post_init__(self):
        if not 0 <= self.start < float("inf"):
            raise VqcastError(f"--start must not be negative, and {self.start:g} is no time in a video")
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise VqcastError(f"--samples must lie in 1..{MOST_SAMPLES}, not {self.samples}")
        if self.frames is not None and not 1 <= self.frames <= MOST_FRAMES:
            raise VqcastError(f"--frames must lie in 1..{MOST_FRAMES}, not {self.frames}")
        if not 1 <= self.fps <= 100:
            raise VqcastError(f"--fps must lie in 1..100, not {self.fps}")

    @property
    def path(self) -> Path:
        """Where the picture goes."""
        return Path(self.out or f"{Path(self.video).stem}-predicted.mp4")


def predict(prediction: Prediction) -> None:
    """Read, continue, write; raises VqcastError, and then nothing was written."""
    check_out(prediction.path)
    if not Path(prediction.video).is_file():
        raise VqcastError(f"{prediction.video} is no file")
    prepare_networks()
    trained = load_trained(Path.cwd(), prediction.rev)
    seed = trained.sample.seed if prediction.seed is None else prediction.seed
    frames = trained.predicted if prediction.frames is None else prediction.frames
    with (
        read_beginning(prediction.video, prediction.start, trained, frames) as beginning,
        tqdm(
            total=codes_to_draw(trained, frames), desc="predict", unit="code", dynamic_ncols=True
        ) as progress,
    ):
        predicted = roll_on(trained, beginning.given, prediction.samples, frames, seed, progress.update)
        picture = side_by_side(beginning.given, predicted, beginning.true if beginning.follow else None)
        save(picture, trained.given + frames, prediction.fps, prediction.path)
    print(_said(prediction, beginning, frames))


def _said(prediction: Prediction, beginning: Beginning, frames: int) -> str:
    """What was done, in a line."""
    several = "continuations" if prediction.samples > 1 else "continuation"
    seconds = len(beginning.given) / beginning.rate
    length = "" if prediction.frames is None else f" by {frames} frames"
    models = "" if prediction.rev is None else f", by the models of {prediction.rev}"
    truth = "what really followed beside them"
    if beginning.follow < frames:
        why = f" ({beginning.complaint})" if beginning.complaint else ""
        some = f", {beginning.follow} frames of {truth}" if beginning.follow else ""
        truth = f"the video ends before they do{why}{some}"
    return (
        f"{prediction.path}: {prediction.samples} {several} of {len(beginning.given)} frames "
        f"({seconds:.2f} s from {prediction.start:g} s on){length}{models}, {truth}"
    )
