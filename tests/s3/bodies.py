# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Bytes on their way into the scripted server: what came with a request, and
files put together of others. Zeroes become holes."""

import base64
import hashlib
import itertools
import os
import zlib

import sigv4

MEMORY_MAX = 1 << 20
PIECE = 1 << 20
_numbers = itertools.count(1)
SUMS = {"sha256": hashlib.sha256, "sha1": hashlib.sha1}


def temporary(folder):
    """A path for a new file."""
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, f"new-{os.getpid()}-{next(_numbers)}")


def put(file, piece):
    """Write a piece, or leave a hole."""
    if piece.count(0) == len(piece):
        file.seek(len(piece), os.SEEK_CUR)
    else:
        file.write(piece)


class Body:
    """What came with a request: in memory, in a file where it is large. One
    that forgets keeps of a large one only size and sums."""

    def __init__(self, folder, forgets=False):
        self.folder, self.path, self.file = folder, None, None
        self.forgets = forgets
        self.data, self.size = b"", 0
        self.md5, self.sha256 = hashlib.md5(), hashlib.sha256()

    def add(self, piece):
        """The next bytes."""
        self.md5.update(piece)
        self.sha256.update(piece)
        self.size += len(piece)
        if not self.file and self.size <= MEMORY_MAX:
            self.data += piece
            return
        if not self.file:
            self.path = temporary(self.folder)
            # Closed by end().
            self.file = open(  # pylint: disable=consider-using-with
                self.path, "wb")
            if not self.forgets:
                self.file.write(self.data)
        if not self.forgets:
            put(self.file, piece)

    def end(self):
        """That was all."""
        if self.file:
            self.file.truncate(self.size)
            self.file.close()
            self.file, self.data = None, b""

    def pieces(self):
        """All of it."""
        if not self.path:
            yield self.data
            return
        with open(self.path, "rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def place(self):
        """A file that holds it, from now on the caller's."""
        if not self.path:
            path = temporary(self.folder)
            with open(path, "wb") as file:
                file.write(self.data)
            return path
        path, self.path = self.path, None
        return path

    def discard(self):
        """Whatever has become of it."""
        if self.file:
            self.file.close()
        if self.path:
            os.unlink(self.path)
        self.file = self.path = None

    def check(self, request):
        """Is it what the headers say? Raises Refusal."""
        given = request.header("content-md5")
        if given:
            try:
                want = base64.b64decode(given, validate=True)
            except ValueError:
                want = b""
            if len(want) != 16:
                raise sigv4.Refusal(400, "InvalidDigest", "The Content-MD5 "
                                    "you specified was invalid.")
            if want != self.md5.digest():
                raise sigv4.Refusal(
                    400, "BadDigest", "The Content-MD5 you specified did not "
                    "match what we received.", ExpectedDigest=want.hex(),
                    CalculatedDigest=self.md5.hexdigest())
        for name in ("crc32", *SUMS):
            given = request.header(f"x-amz-checksum-{name}")
            if given and given != self.checksum(name):
                raise sigv4.Refusal(
                    400, "BadDigest", f"The {name.upper()} you specified did "
                    "not match the calculated checksum.")

    def checksum(self, name):
        """As x-amz-checksum-NAME has it."""
        if name == "crc32":
            crc = 0
            for piece in self.pieces():
                crc = zlib.crc32(piece, crc)
            return base64.b64encode(crc.to_bytes(4, "big")).decode()
        digest = SUMS[name]()
        for piece in self.pieces():
            digest.update(piece)
        return base64.b64encode(digest.digest()).decode()


def copy_of(folder, entry, start, size):
    """A range of an object as a new file: (path, its MD5 in hex). What was
    made up is not read through: its sum is that of its description."""
    path = temporary(folder)
    with open(path, "wb") as file:
        if entry.path:
            digest = hashlib.md5()
            with entry.open() as read:
                for at in range(start, start + size, PIECE):
                    piece = read(at, min(PIECE, start + size - at))
                    digest.update(piece)
                    put(file, piece)
        else:
            digest = hashlib.md5(f"{entry.token} {start} {size}".encode())
            file.write(entry.text[start:start + size])
        file.truncate(size)
    return path, digest.hexdigest()


def joined(folder, paths):
    """One new file of all of them; their holes stay holes."""
    path, end = temporary(folder), 0
    with open(path, "wb") as file:
        for part in paths:
            with open(part, "rb") as source:
                join(file.fileno(), end, source.fileno())
            end += os.path.getsize(part)
        file.truncate(end)
    return path


def join(target, end, source):
    """Copy what a file holds to an offset of another."""
    at = 0
    while True:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:
            return
        stop = os.lseek(source, at, os.SEEK_HOLE)
        while at < stop:
            at += os.copy_file_range(source, target, stop - at, at, end + at)
