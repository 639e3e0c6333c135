"""What every training stage does with its task: train it, and put what came of it in its place."""

from collections.abc import Callable
from pathlib import Path

from vqcast.settings.training import Training
from vqcast.training.loop import Task, train
from vqcast.training.ranks import rank
from vqcast.work.files import clear_scratch, publish_directory


def train_and_publish(
    stage: str,
    task: Task,
    settings: Training,
    scratch: Path,
    save: Callable[[Path], None],
    out: str,
    curves: str,
) -> None:
    """Train `task`; then the model that `save` writes into a folder appears as `out`, its curves as `curves`.

    Of several ranks, the first one publishes.
    """
    train(task, settings, scratch, stage)
    if rank() == 0:
        model = scratch / "model"
        save(model)
        publish_directory(model, out)
        publish_directory(scratch / "curves", curves)
        clear_scratch(stage)
