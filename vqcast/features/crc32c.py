"""CRC-32C, the checksum by which TensorFlow guards each tensor of a checkpoint; in numpy, 50 MB in a second.

A CRC is linear over GF(2). The data is therefore cut into lanes of equal length, whose CRCs advance side by
side, one word at a time, and are then joined in pairs: the CRC of two pieces is that of the first, shifted by
the length of the second, plus that of the second.
"""

from functools import lru_cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
MOST_LANES = 4096


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of `data`."""
    size = len(data)
    lanes = min(MOST_LANES, 1 << (size // 256).bit_length())
    words = -(-size // (4 * lanes))  # of a lane
    padded = np.zeros(4 * words * lanes, np.uint8)
    padded[len(padded) - size :] = np.frombuffer(data, np.uint8)  # zeros before the data change nothing
    crcs = np.zeros(lanes, np.uint32)
    for word in np.ascontiguousarray(padded.view("<u4").reshape(lanes, words).T):
        crcs = _advance(crcs ^ word)
    shift = _shift(4 * words)
    while len(crcs) > 1:
        crcs = _apply(shift, crcs[0::2]) ^ crcs[1::2]
        shift = _apply(shift, shift)
    start = _apply(_shift(size), np.array([0xFFFFFFFF], np.uint32))
    return int(crcs[0] ^ start[0]) ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A CRC as TensorFlow stores it."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _tables() -> np.ndarray:
    """What each byte of a 4-byte word adds to the CRC: (4, 256) uint32, the lowest byte first."""
    one = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        one = np.where(one & 1, (one >> np.uint32(1)) ^ np.uint32(POLYNOMIAL), one >> np.uint32(1))
    tables = [one]
    for _ in range(3):
        tables.append(one[tables[-1] & 0xFF] ^ (tables[-1] >> np.uint32(8)))
    return np.stack(tables[::-1])


TABLES = _tables()


def _advance(crcs: np.ndarray) -> np.ndarray:
    """The CRCs four bytes on; these bytes have been added to them."""
    low, high = crcs & 0xFFFF, crcs >> np.uint32(16)
    return TABLES[0][low & 0xFF] ^ TABLES[1][low >> 8] ^ TABLES[2][high & 0xFF] ^ TABLES[3][high >> 8]


@lru_cache
def _shift(count: int) -> np.ndarray:
    """The linear map of `count` zero bytes: what becomes of each of the 32 bits."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    result, power = bits, TABLES[3][bits & 0xFF] ^ (bits >> np.uint32(8))  # of none, and of one byte
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def _apply(linear: np.ndarray, crcs: np.ndarray) -> np.ndarray:
    """A linear map, given by its images of the 32 bits, of each of some CRCs."""
    result = np.zeros_like(crcs)
    for bit in range(32):
        result ^= np.where(crcs >> np.uint32(bit) & np.uint32(1), linear[bit], np.uint32(0))
    return result
