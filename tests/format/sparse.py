# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Byte sequences that are mostly zeroes, in memory and as files."""

import os
import random

PAGE = 1 << 16


class Sparse:
    """Bytes that can be written anywhere, up to many TiB."""

    def __init__(self, size=0, data=b""):
        self.size = max(size, len(data))
        self.pages = {}
        self.write(0, data)

    def write(self, offset, data):
        """Put data at offset; grows the sequence if needed."""
        data = memoryview(bytes(data))
        self.size = max(self.size, offset + len(data))
        while data:
            page, at = divmod(offset, PAGE)
            part = min(len(data), PAGE - at)
            if page not in self.pages:
                self.pages[page] = bytearray(PAGE)
            self.pages[page][at:at + part] = data[:part]
            data = data[part:]
            offset += part

    def read(self, offset, length):
        """Bytes at offset; zeroes behind the end."""
        out = bytearray()
        while len(out) < length:
            page, at = divmod(offset + len(out), PAGE)
            part = min(length - len(out), PAGE - at)
            if page in self.pages:
                out += self.pages[page][at:at + part]
            else:
                out += bytes(part)
        return bytes(out)

    def chunks(self, offset, length):
        """(offset, bytes) of the pages in a range that were written."""
        end = offset + length
        for number in sorted(self.pages):
            start = max(offset, number * PAGE)
            stop = min(end, (number + 1) * PAGE)
            if start < stop:
                at = start - number * PAGE
                yield start, self.pages[number][at:at + stop - start]

    def resize(self, size):
        """Cut the sequence off, or append zeroes."""
        for page in [p for p in self.pages if p * PAGE >= size]:
            del self.pages[page]
        if size < self.size and size % PAGE and size // PAGE in self.pages:
            tail = PAGE - size % PAGE
            self.pages[size // PAGE][size % PAGE:] = bytes(tail)
        self.size = size

    def copy(self):
        """An independent copy."""
        other = Sparse(self.size)
        other.pages = {n: bytearray(p) for n, p in self.pages.items()}
        return other

    def paint(self, seed, offset, length):
        """Write reproducible random bytes."""
        rng = random.Random(f"{seed}:{offset}")
        end = offset + length
        while offset < end:
            part = min(1 << 20, end - offset)
            self.write(offset, rng.randbytes(part))
            offset += part
        return self

    def save(self, path):
        """Write a file with holes for pages of zeroes."""
        with open(path, "wb") as file:
            for number in sorted(self.pages):
                page = self.pages[number]
                if any(page):
                    file.seek(number * PAGE)
                    file.write(page[:max(0, self.size - number * PAGE)])
            file.truncate(self.size)


def data_ranges(fd, size):
    """(offset, end) of what is stored in an open file."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at


def first_difference(path_a, path_b):
    """None if two files hold the same, else a sentence. Looks only where one
    of them has data, so that huge sparse files compare quickly."""
    with open(path_a, "rb") as a, open(path_b, "rb") as b:
        size = os.fstat(a.fileno()).st_size
        other = os.fstat(b.fileno()).st_size
        if size != other:
            return f"sizes {size} and {other}"
        for file in (a, b):
            for start, end in list(data_ranges(file.fileno(), size)):
                for at in range(start, end, 1 << 20):
                    part = min(1 << 20, end - at)
                    if os.pread(a.fileno(), part, at) != \
                       os.pread(b.fileno(), part, at):
                        return f"differ within {part} bytes at {at}"
    return None


def merge(ranges):
    """Ranges (offset, length) in order, touching ones as one."""
    out = []
    for offset, length in sorted(ranges):
        if out and offset <= out[-1][0] + out[-1][1]:
            end = max(out[-1][0] + out[-1][1], offset + length)
            out[-1] = (out[-1][0], end - out[-1][0])
        elif length:
            out.append((offset, length))
    return out
