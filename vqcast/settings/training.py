"""Sections of params.yaml about training."""

from dataclasses import dataclass

from vqcast.settings.checks import SettingsError, one_of, positive


@dataclass(frozen=True)
class Training:
    steps: int
    batch_size: int
    optimizer: str  # adamw, or muon for the hidden layers
    learning_rate: float
    warmup_steps: int  # linear, then cosine to zero at `steps`
    weight_decay: float
    grad_clip: float  # largest gradient norm
    accumulate: int  # parts that a batch is cut into, one after another, where memory is short
    activation_checkpointing: bool  # compute activations twice instead of keeping them
    compile: bool  # torch.compile; needs a C++ compiler on a CPU
    precision: str
    validate_every: int  # steps
    checkpoint_every: int  # steps
    seed: int

    def __post_init__(self):
        positive(self, "steps", "batch_size", "learning_rate", "grad_clip", "accumulate")
        positive(self, "validate_every", "checkpoint_every")
        one_of(self, "optimizer", ("adamw", "muon"))
        one_of(self, "precision", ("bfloat16", "float32"))
        if self.warmup_steps < 0 or self.weight_decay < 0:
            raise SettingsError("warmup_steps and weight_decay must not be negative")
        if self.batch_size % self.accumulate:
            raise SettingsError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})"
            )


@dataclass(frozen=True)
class VqvaeTraining(Training):
    flip: bool  # show every second window, by lot, as in a mirror
    reverse: bool  # and every second one backwards


@dataclass(frozen=True)
class PriorTraining(Training):
    average_decay: float  # of the exponential average of the weights, which is what is kept; 0 is no average

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.average_decay < 1:
            raise SettingsError(f"average_decay must lie in [0, 1), not {self.average_decay}")


@dataclass(frozen=True)
class BottomTraining(PriorTraining):
    """How the bottom prior is trained; a batch is of windows, each lending some of its slices."""

    slices_per_window: int

    def __post_init__(self):
        super().__post_init__()
        positive(self, "slices_per_window")
