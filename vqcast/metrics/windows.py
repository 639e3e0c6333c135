"""The validation windows that were predicted, and what every system puts in place of their predicted frames.

Shapes: B windows, S samples a window, T frames of a window, P predicted frames.
"""

import numpy as np
import torch

from vqcast.clips.pixels import frames_of, video_of
from vqcast.clips.windows import Clips
from vqcast.codes.latents import Latents
from vqcast.errors import VqcastError
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.sampling.predict import decode_predicted
from vqcast.sampling.store import Samples
from vqcast.settings.data import Window
from vqcast.work.environment import device

EXPECTATION = "expectation"  # what the given frames let expect, without codes; where the VQ-VAE sees them

Videos = dict[str, np.ndarray]


class ValidationWindows:
    """The validation windows that were predicted: their true frames, and what each system puts in place of
    the predicted ones."""

    def __init__(self, clips: Clips, latents: Latents, vqvae: VQVAE, samples: Samples, window: Window):
        self.clips, self.latents, self.vqvae = clips, latents, vqvae
        self.samples, self.window = samples, window
        self.refs = clips.windows("val", window)
        places = {name: number for number, name in enumerate(self.refs.ids())}
        rows = [places.get(name, -1) for name in samples.windows]
        for name, same in (
            ("latent shards", list(latents.window_ids()) == list(places)),
            ("samples", -1 not in rows and rows == sorted(rows)),
        ):
            if not same:
                raise VqcastError(
                    f"the {name} are not those of the clips' {len(self.refs)} validation windows; "
                    "run the stages from encode on again"
                )
        self.rows = np.array(rows)  # of the latents: which ones of all windows were predicted
        if len(rows) < len(self.refs):
            self.refs = [self.refs[row] for row in rows]

    def __len__(self) -> int:
        return len(self.refs)

    def true_frames(self, numbers: range) -> np.ndarray:
        """The clips' own frames, uint8 (B, T, H, W, 3)."""
        return np.stack([self.clips.reader.read(self.refs[n], self.window.frames) for n in numbers])

    def systems(self, numbers: range, truth: np.ndarray) -> Videos:
        """The predicted frames by each system, uint8 (B, S, P, H, W, 3)."""
        given = truth[:, : self.window.given]
        repeated = np.repeat(given[:, -1:], self.window.frames - self.window.given, axis=1)
        systems = {
            "reconstruction": self.reconstructed(numbers, given)[:, None],
            "model": np.stack([self._sampled(self.refs[n].id) for n in numbers]),
            "repeat_last_frame": repeated[:, None],
        }
        if self.vqvae.settings.sees_given:
            systems[EXPECTATION] = self.expected(given)[:, None]
        return systems

    @torch.inference_mode()
    def reconstructed(self, numbers: range, given: np.ndarray, use_bottom: bool = True) -> np.ndarray:
        """Predicted frames of the windows' own codes, uint8 (B, P, H, W, 3); given: uint8 (B, G, H, W, 3)."""
        chosen = self.rows[numbers.start : numbers.stop]
        codes = Codes(*(_codes(self.latents.codes(level, chosen)) for level in ("top", "bottom")))
        return frames_of(decode_predicted(self.vqvae, codes, video_of(given), use_bottom))

    @torch.inference_mode()
    def expected(self, given: np.ndarray) -> np.ndarray:
        """What the given frames alone let expect, uint8 (B, P, H, W, 3); given: uint8 (B, G, H, W, 3)."""
        return frames_of(torch.cat([self.vqvae.expectation(one) for one in video_of(given).split(1)]))

    def _sampled(self, window: str) -> np.ndarray:
        return np.stack([self.samples.predicted(window, s) for s in range(self.samples.samples_per_window)])


def _codes(codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(codes.astype(np.int64)).to(device())
