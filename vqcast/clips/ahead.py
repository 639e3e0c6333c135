"""Batches read ahead of the network that trains on them."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import Dataset, default_collate

AHEAD = 4  # batches for each reader


def read_ahead(windows: Dataset, batches: Iterable[list], readers: int) -> Iterator[object]:
    """The batches of `windows` that lists of their keys name, in the order of the lists.

    `readers` threads work ahead: decord decodes beside the network, since it holds no lock of Python's. With
    none, each batch is read when it is asked for.
    """
    if not readers:
        for keys in batches:
            yield _read(windows, keys)
        return
    with ThreadPoolExecutor(readers, "reader") as pool:
        waiting = deque()
        try:
            for keys in batches:
                waiting.append(pool.submit(_read, windows, keys))
                if len(waiting) > AHEAD * readers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read(windows: Dataset, keys: list) -> object:
    together = getattr(windows, "__getitems__", None)  # as a DataLoader has it
    return default_collate(together(keys) if together else [windows[key] for key in keys])
