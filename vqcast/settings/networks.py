"""Sections of params.yaml about networks: Tables 3 to 6 of the paper."""

from dataclasses import dataclass

from vqcast.settings.checks import SettingsError, positive, share


@dataclass(frozen=True)
class Vqvae:
    """Table 3 of the paper. Filters and strides are (time, height, width)."""

    hidden: int
    residual: int
    residual_layers: int
    codes: int
    code_dim: int
    first_filter: tuple[int, int, int]
    first_stride: tuple[int, int, int]
    second_filter: tuple[int, int, int]
    second_stride: tuple[int, int, int]
    commitment: float  # beta of equation 2
    decay: float  # gamma of equation 3
    bottom_mask_prob: float
    sees_given: bool  # beyond the paper: predicted frames are coded in sight of the given ones

    def __post_init__(self):
        positive(self, "hidden", "residual", "residual_layers", "codes", "code_dim")
        share(self, "decay", "bottom_mask_prob")
        for stage in ("first", "second"):
            filters, strides = getattr(self, f"{stage}_filter"), getattr(self, f"{stage}_stride")
            for size, stride in zip(filters, strides, strict=True):
                if stride < 1 or size < stride or (size - stride) % 2:
                    raise SettingsError(
                        f"vqvae.{stage}_filter {list(filters)} must exceed vqvae.{stage}_stride "
                        f"{list(strides)} by an even number along every axis"
                    )


@dataclass(frozen=True)
class Expectation:
    """What is seen of the predicted frames without codes, and what codes cost; if `vqvae.sees_given`."""

    hidden: int
    layers: int
    flows: int  # ways in which the last given frame is moved, to be blended
    last_kernel: int  # positions along and up that the last layer sees: of its products most are there
    bit_price: float  # squared distance between vectors that a bit of a code must save

    def __post_init__(self):
        positive(self, "hidden", "layers", "flows", "last_kernel")
        if self.last_kernel % 2 == 0:
            raise SettingsError(f"last_kernel must be odd, not {self.last_kernel}")
        if not 0 <= self.bit_price < float("inf"):
            raise SettingsError(f"bit_price must not be negative, and not {self.bit_price}")


@dataclass(frozen=True)
class Prior:
    """What both priors have: a column of Table 4, and a tower over what conditions them (`condition_*`)."""

    hidden: int
    residual: int
    layers: int
    kernel: int
    attention_every: int
    heads: int
    dropout: float
    condition_hidden: int
    condition_residual: int
    condition_layers: int

    def __post_init__(self):
        positive(self, "hidden", "residual", "layers", "kernel", "attention_every", "heads")
        positive(self, "condition_hidden", "condition_residual", "condition_layers")
        if self.kernel % 2 == 0:
            raise SettingsError(f"kernel must be odd, not {self.kernel}")
        if self.hidden % self.heads:
            raise SettingsError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"dropout must lie in [0, 1), not {self.dropout}")


@dataclass(frozen=True)
class TopPrior(Prior):
    """Table 4, left column, and Table 5 (`condition_*`)."""


@dataclass(frozen=True)
class BottomPrior(Prior):
    """Table 4, right column, and Table 6 (`condition_*`)."""

    past_slices: int  # bottom slices before the one that is predicted

    def __post_init__(self):
        super().__post_init__()
        positive(self, "past_slices")
