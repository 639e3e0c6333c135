"""Some frames of a clip as an mp4 of their own, so that a decoder opens and reads no more than these.

Opening an mp4 takes a decoder longer the more frames it lists, and looking for one of them as long again.
A clip's list is simple, because ffmpeg.py wrote it: one track, its frames in order and without gaps.
"""

import struct
from bisect import bisect_right

PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl")  # to the tables of a track


def excerpt(mp4: bytes, frames: range) -> tuple[bytes, int]:
    """Consecutive `frames` of a clip as an mp4, and how many frames it holds before them."""
    boxes = _boxes(mp4)
    count, *sizes = _numbers(boxes[b"stsz"])[1:]
    sync = _numbers(boxes[b"stss"])[1:] if b"stss" in boxes else range(1, count + 1)  # counted from 1
    duration = _numbers(boxes[b"stts"])[2]  # of a frame
    offset = _numbers(boxes[b"stco"])[1]  # of the first frame in the file

    first = bisect_right(sync, frames[0] + 1) - 1
    start, stop = sync[first] - 1, frames[-1] + 1
    begin = offset + sum(sizes[:start])
    sizes = sizes[start:stop]
    sync = [frame - start for frame in sync[first : bisect_right(sync, stop)]]
    tables = _box(
        b"stbl",
        boxes[b"stsd"],
        _table(b"stts", 1, len(sizes), duration),
        _table(b"stss", len(sync), *sync),
        _table(b"stsc", 1, 1, len(sizes), 1),  # all in one chunk,
        _table(b"stsz", 0, len(sizes), *sizes),
        _table(b"stco", 1, 8),  # which begins after the head of mdat
    )
    media = _box(b"mdia", boxes[b"mdhd"], boxes[b"hdlr"], _box(b"minf", tables))
    movie = _box(b"moov", boxes[b"mvhd"], _box(b"trak", boxes[b"tkhd"], media))
    return _box(b"mdat", mp4[begin : begin + sum(sizes)]) + movie, frames[0] - start


def _boxes(mp4: bytes) -> dict[bytes, bytes]:
    """The boxes on the way to the track's tables, and these, by name, heads included."""
    found = {}
    start, stop = 0, len(mp4)
    while start < stop:
        size, name = struct.unpack_from(">I4s", mp4, start)
        if name in PATH:
            start, stop = start + 8, start + size
            continue
        if name != b"mdat":
            found[name] = mp4[start : start + size]
        start += size
    return found


def _numbers(box: bytes) -> tuple[int, ...]:
    """What follows a table's head, its version and flags."""
    return struct.unpack_from(f">{len(box) // 4 - 3}I", box, 12)


def _table(name: bytes, *numbers: int) -> bytes:
    return _box(name, struct.pack(f">{len(numbers) + 1}I", 0, *numbers))


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content
