"""Bytes for the tests to send, and their hashes.

Owns: nothing; every function is pure.  Any thread may call them, in any process.
Must not: import anything that a server's process would not import anyway.
"""

import hashlib
import struct

MIB = 1 << 20


def digest(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pattern(size_bytes: int) -> bytes:
    """`size_bytes` bytes in which every misplaced or repeated block changes the hash."""
    block = hashlib.shake_128(b"loopx").digest(min(size_bytes, MIB) or 1)
    if size_bytes <= len(block):
        return block[:size_bytes]
    numbered = [
        struct.pack("<Q", index) + block[8:] for index in range(-(-size_bytes // len(block)))
    ]
    return b"".join(numbered)[:size_bytes]
