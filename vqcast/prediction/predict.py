"""What `pipeline.py predict` does: a video in, its continuations side by side out."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vqcast.errors import VqcastError
from vqcast.prediction.continuation import codes_to_draw, continue_frames, read_beginning
from vqcast.prediction.picture import check_out, save, side_by_side
from vqcast.prediction.trained import load_trained
from vqcast.work.environment import prepare_networks

MOST_SAMPLES = 100


@dataclass(frozen=True)
class Prediction:
    """The command line of `pipeline.py predict`."""

    video: str
    start: float  # seconds
    samples: int
    out: str | None
    rev: str | None
    seed: int | None
    fps: int

    def __post_init__(self):
        if not 0 <= self.start < float("inf"):
            raise VqcastError(f"--start must not be negative, and {self.start:g} is no time in a video")
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise VqcastError(f"--samples must lie in 1..{MOST_SAMPLES}, not {self.samples}")
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
    beginning = read_beginning(prediction.video, prediction.start, trained)
    seed = trained.sample.seed if prediction.seed is None else prediction.seed
    with tqdm(total=codes_to_draw(trained), desc="predict", unit="code", dynamic_ncols=True) as progress:
        predicted = continue_frames(
            trained, beginning.given, prediction.samples, seed, lambda codes: progress.update(codes)
        )
    save(side_by_side(beginning.given, predicted, beginning.true), prediction.fps, prediction.path)
    truth = "the video ends before they do" if beginning.true is None else "what really followed beside them"
    models = "" if prediction.rev is None else f", by the models of {prediction.rev}"
    seconds = len(beginning.given) / beginning.rate
    several = "continuations" if prediction.samples > 1 else "continuation"
    print(
        f"{prediction.path}: {prediction.samples} {several} of {len(beginning.given)} frames "
        f"({seconds:.2f} s from {prediction.start:g} s on){models}, {truth}"
    )
