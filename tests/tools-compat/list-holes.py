#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Print where a file's data are, as "offset length" lines.

usage: list-holes.py FILE                   by SEEK_DATA and SEEK_HOLE
       list-holes.py --qemu FORMAT FILE     by `qemu-img map` of a container
       list-holes.py --blocks SIZE FILE     blocks that are not all zero
       list-holes.py --within FILE COPY     data of COPY that FILE has not,
                                            to blocks of 64 KiB
"""
import errno
import json
import os
import subprocess
import sys


def seek_map(path):
    fd = os.open(path, os.O_RDONLY)
    at, size = 0, os.fstat(fd).st_size
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(fd, data, os.SEEK_HOLE)
        yield data, at - data


def join(pieces):
    """Neighbours become one."""
    start, length = 0, 0
    for offset, more in pieces:
        if length and offset != start + length:
            yield start, length
            length = 0
        if not length:
            start = offset
        length += more
    if length:
        yield start, length


def qemu_map(fmt, path):
    text = subprocess.run(["qemu-img", "map", "--output=json", "-f", fmt,
                           path], check=True, capture_output=True).stdout
    return join((piece["start"], piece["length"])
                for piece in json.loads(text) if piece["data"])


def block_map(size, path):
    def blocks():
        with open(path, "rb") as file:
            while block := file.read(size):
                if block.strip(b"\0"):
                    yield file.tell() - len(block), len(block)
    return join(blocks())


def outside(path, copy):
    """Blocks where copy has data and path has none."""
    def blocks(pieces):
        return {n for offset, length in pieces
                for n in range(offset >> 16, (offset + length - 1 >> 16) + 1)}
    return [(n << 16, 1 << 16) for n in
            sorted(blocks(seek_map(copy)) - blocks(seek_map(path)))]


def main():
    if sys.argv[1] == "--qemu":
        pieces = qemu_map(*sys.argv[2:])
    elif sys.argv[1] == "--blocks":
        pieces = block_map(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "--within":
        pieces = outside(*sys.argv[2:])
    else:
        pieces = seek_map(sys.argv[1])
    for offset, length in pieces:
        print(offset, length)


if __name__ == "__main__":
    main()
