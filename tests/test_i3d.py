"""I3D is the published network: its tensors, its padding, its arithmetic."""

import math

import numpy as np
import pytest
import torch

from vqcast.features.features import I3DFeatures, weights_sha256
from vqcast.features.i3d import I3D, Inception, max_pool_same, random_i3d, same_padding


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """All tensors random, batch norm's statistics too; variances positive."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - (0 if "variance" in name else 0.5))
    return module


def direct_unit(x: np.ndarray, unit: torch.nn.Module) -> np.ndarray:
    """Convolution with SAME padding, batch norm and ReLU, one output position after another."""
    weight, norm = unit.conv_3d.w.detach().double().numpy(), unit.batch_norm
    size = weight.shape[2]
    padded = np.pad(x, [(0, 0)] + [((size - 1) // 2, size - 1 - (size - 1) // 2)] * 3)
    out = np.empty((weight.shape[0], *x.shape[1:]))
    for t, h, w in np.ndindex(*x.shape[1:]):
        patch = padded[:, t : t + size, h : h + size, w : w + size]
        out[:, t, h, w] = np.tensordot(weight, patch, axes=4)
    mean, variance, beta = (
        tensor.detach().double().numpy()[:, None, None, None]
        for tensor in (norm.moving_mean, norm.moving_variance, norm.beta)
    )
    return np.maximum((out - mean) / np.sqrt(variance + 1e-3) + beta, 0)


def direct_pool(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, [(0, 0)] + [(1, 1)] * 3, constant_values=-np.inf)
    out = np.empty_like(x)
    for t, h, w in np.ndindex(*x.shape[1:]):
        out[:, t, h, w] = padded[:, t : t + 3, h : h + 3, w : w + 3].max(axis=(1, 2, 3))
    return out


def test_an_inception_block_equals_its_direct_computation():
    block = randomised(Inception("Mixed_3b", 5))
    x = np.random.default_rng(0).standard_normal((5, 2, 4, 3))
    pooled = direct_unit(direct_pool(x), block.Branch_3[0])
    branches = [x, x, x]
    for index, branch in enumerate((block.Branch_0, block.Branch_1, block.Branch_2)):
        for unit in branch:
            branches[index] = direct_unit(branches[index], unit)
    expected = np.concatenate([*branches, pooled])
    with torch.no_grad():
        found = block(torch.from_numpy(x).float()[None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "filter_", "stride", "expected"),
    [(224, 7, 2, (2, 3)), (16, 7, 2, (2, 3)), (112, 3, 2, (0, 1)), (7, 3, 1, (1, 1)), (5, 2, 2, (0, 1))],
)
def test_padding_is_that_of_tensorflow(size, filter_, stride, expected):
    assert same_padding((size,), (filter_,), (stride,)) == [expected]


def test_padding_never_wins_a_max_pool():
    negative = -torch.ones(1, 1, 4, 4, 4)
    assert torch.equal(max_pool_same(negative, (3, 3, 3), (2, 2, 2)), -torch.ones(1, 1, 2, 2, 2))


def test_its_tensors_are_those_of_the_published_checkpoint():
    tensors = I3D().state_dict()
    assert len(tensors) == 230
    assert sum(tensor.numel() for tensor in tensors.values()) == 12_704_544
    assert tensors["Mixed_5b.Branch_2.Conv3d_0a_3x3.conv_3d.w"].shape == (128, 32, 3, 3, 3)
    assert tensors["Logits.Conv3d_0c_1x1.conv_3d.b"].shape == (400,)


def test_random_weights_depend_on_the_seed_alone():
    assert weights_sha256(random_i3d(1)) == weights_sha256(random_i3d(1)) != weights_sha256(random_i3d(2))


@torch.inference_mode()
def test_random_weights_keep_activations_in_range_through_the_whole_network():
    video = torch.rand(2, 3, 12, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logits = random_i3d()(video)
    assert logits.shape == (2, 400)
    assert 0.01 < logits.std() < 100


def test_features_do_not_depend_on_the_batch():
    videos = np.random.default_rng(0).integers(0, 256, (3, 8, 20, 20, 3), dtype=np.uint8)
    features = I3DFeatures(random_i3d(), False, "random", resolution=32, precision="float32")
    together = features(videos)
    alone = np.concatenate([features(video[None]) for video in videos])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    assert math.isfinite(together.sum())
