#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A whole disk that is copied to one of its own kind is copied by the store, as
the object that it is; whatever else is done meanwhile is still right."""

import errno
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
from export import tap  # noqa: E402

MIB = 1 << 20
SIZE = 12 * MIB
# Data with holes in front, between and behind.
CONTENT = bytearray(SIZE)
for start, end in ((3 * MIB, 5 * MIB), (7 * MIB, 9 * MIB + 70000)):
    CONTENT[start:end] = random.Random(start).randbytes(end - start)
CONTENT = bytes(CONTENT)
KINDS = ["vmdk.raw", "vhd.raw", "vhdx.raw", "raw"]


def read(path):
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def cp(*words):
    """Run cp."""
    subprocess.run(["cp", *words], check=True)


def make_source(mount, kind):
    """The source of a kind; its path."""
    path = mount.disk("source." + kind)
    with open(path, "wb") as file:
        file.write(CONTENT)
    return path


def key_of(kind, name):
    """The object of a disk."""
    return f"{name}.{kind}".removesuffix(".raw") if kind != "raw" \
        else f"{name}.raw"


def object_of(mount, kind, name):
    """The stored bytes of a disk."""
    return read(mount.store.path(key_of(kind, name)))


class Copies:
    """Counts what the store has copied while in `with`."""

    def __init__(self, mount, number, what):
        self.mount, self.number, self.what = mount, number, what
        self.before = None

    def count(self):
        """What the statistics say."""
        writing = self.mount.writing()
        return (writing["copied"], writing["bytes_copied"],
                self.mount.counters()["read_bytes"])

    def __enter__(self):
        self.before = self.count()
        return self

    def __exit__(self, *_):
        now = self.count()
        tap.same((now[0] - self.before[0], now[2] - self.before[2]),
                 (self.number, 0),
                 f"{self.what}: {self.number} copied by the store, no byte "
                 "read")
        self.bytes = now[1] - self.before[1]


class Copying:
    """A target into which ranges of the source are copied, while in `with`;
    what that left, when it was closed, is compared with `want`."""

    def __init__(self, mount, kind, number, what, flags=os.O_WRONLY):
        self.mount, self.number = mount, number
        self.what = f"{kind}: {what}"
        self.path = mount.disk("target." + kind)
        self.source = os.open(mount.disk("source." + kind), os.O_RDONLY)
        self.fd = os.open(self.path, os.O_CREAT | flags, 0o644)
        self.want = CONTENT
        self.copies = Copies(mount, number, self.what)

    def range(self, start, end, target=None):
        """Copy a range."""
        target = start if target is None else target
        while start < end:
            done = os.copy_file_range(self.source, self.fd, end - start,
                                      start, target)
            start += done
            target += done

    def __enter__(self):
        self.copies.__enter__()
        return self

    def skip(self):
        """It needs what was sent to a server already."""
        got = export.errno_of(os.close, self.fd)
        os.close(self.source)
        if got:
            tap.same((got, os.path.exists(self.path)),
                     (errno.EOPNOTSUPP, False), f"{self.what}: is refused")
        else:
            # A hole, which is not necessary.
            tap.ok(read(self.path) == CONTENT, f"{self.what}: as it was")
            os.unlink(self.path)
        return True

    def __exit__(self, _, error, *more):
        if isinstance(error, OSError) and not self.mount.turns_back and \
                error.errno == errno.EOPNOTSUPP:
            return self.skip()
        os.close(self.fd)
        self.copies.__exit__()
        tap.same(os.stat(self.path).st_size, len(self.want),
                 f"{self.what}: the size")
        tap.ok(read(self.path) == self.want, f"{self.what}: the bytes")
        os.close(self.source)
        os.unlink(self.path)
        return False


def test_cp(mount, kind):
    """What cp does, in each of its ways."""
    source = make_source(mount, kind)
    target = mount.disk("target." + kind)
    for words in (["--sparse=never"], ["--sparse=never", "-p"],
                  ["--sparse=never", "--reflink=auto"]):
        what = f"{kind}: cp {' '.join(words)}"
        with Copies(mount, 1, what) as copies:
            cp(*words, source, target)
        stored = object_of(mount, kind, "target")
        tap.ok(stored == object_of(mount, kind, "source"),
               f"{what}: the same object")
        tap.same(copies.bytes, len(stored), f"{what}: its bytes are counted")
        tap.ok(read(target) == CONTENT, f"{what}: the same disk")
        os.unlink(target)
    # What looks for holes reads what is between them.
    for words in ([], ["--sparse=always"]):
        cp(*words, source, target)
        tap.ok(read(target) == CONTENT, f"{kind}: cp {' '.join(words)}")
        os.unlink(target)


def test_ranges(mount, kind):
    """Which ranges make a whole."""
    with Copying(mount, kind, 1, "one range") as to:
        to.range(0, SIZE)
    with Copying(mount, kind, 1, "several, some twice") as to:
        for start in range(0, SIZE, MIB):
            to.range(max(0, start - 1000), start + MIB)
    with Copying(mount, kind, 1, "fsync, and nothing more") as to:
        to.range(0, SIZE)
        os.fsync(to.fd)
    with Copying(mount, kind, 1, "sized before") as to:
        os.ftruncate(to.fd, SIZE)
        to.range(0, SIZE)
    with Copying(mount, kind, 0, "not all of it") as to:
        to.range(0, 8 * MIB)
        to.want = CONTENT[:8 * MIB]
    with Copying(mount, kind, 0, "larger than it was") as to:
        to.range(0, SIZE)
        os.ftruncate(to.fd, SIZE + MIB)
        to.want = CONTENT + bytes(MIB)
    with Copying(mount, kind, 0, "smaller again") as to:
        to.range(0, SIZE)
        os.ftruncate(to.fd, 8 * MIB)
        to.want = CONTENT[:8 * MIB]
    with Copying(mount, kind, 1, "from the beginning again") as to:
        to.range(0, 4 * MIB)
        os.ftruncate(to.fd, 0)
        to.range(0, SIZE)
    with Copying(mount, kind, 0, "to another place") as to:
        to.range(3 * MIB, 5 * MIB, 0)
        to.want = CONTENT[3 * MIB:5 * MIB]
    with Copying(mount, kind, 0, "without some of the data") as to:
        to.range(0, 4 * MIB)
        to.range(5 * MIB, SIZE)
        to.want = CONTENT[:4 * MIB] + bytes(MIB) + CONTENT[5 * MIB:]
    with Copying(mount, kind, 0, "in another order") as to:
        to.range(6 * MIB, SIZE)
        to.range(0, 6 * MIB)


def test_changes(mount, kind):
    """What else is done with the file."""
    with Copying(mount, kind, 0, "written to behind") as to:
        to.range(0, SIZE)
        os.pwrite(to.fd, b"x" * 1000, SIZE)
        to.want = CONTENT + b"x" * 1000 + bytes(24 if kind != "raw" else 0)
    with Copying(mount, kind, 0, "written over") as to:
        to.range(0, SIZE)
        os.pwrite(to.fd, b"x" * MIB, 4 * MIB)
        to.want = CONTENT[:4 * MIB] + b"x" * MIB + CONTENT[5 * MIB:]
    with Copying(mount, kind, 0, "written to before") as to:
        os.pwrite(to.fd, b"x", 0)
        to.range(1, SIZE)
        to.want = b"x" + CONTENT[1:]
    with Copying(mount, kind, 0, "a hole made") as to:
        to.range(0, SIZE)
        export.fallocate(to.fd, export.PUNCH_HOLE, 4 * MIB, MIB)
        to.want = CONTENT[:4 * MIB] + bytes(MIB) + CONTENT[5 * MIB:]
    with Copying(mount, kind, 0, "read back", os.O_RDWR) as to:
        to.range(0, SIZE)
        tap.ok(os.pread(to.fd, MIB, 4 * MIB) == CONTENT[4 * MIB:5 * MIB],
               f"{kind}: what was copied is read")
        to.copies.before = to.copies.count()
    with Copying(mount, kind, 1, "written to after fsync") as to:
        to.range(0, SIZE)
        os.fsync(to.fd)
        os.pwrite(to.fd, b"x", 0)
        to.want = b"x" + CONTENT[1:]


def test_other_kinds(mount):
    """Between kinds, the engine converts."""
    for kind in KINDS:
        source = mount.disk("source." + kind)
        for other in KINDS:
            if other == kind:
                continue
            with Copies(mount, 0, f"{kind} to {other}"):
                cp("--sparse=never", source, mount.disk("other." + other))
            tap.ok(read(mount.disk("other." + other)) == CONTENT,
                   f"{kind} to {other}: the same disk")
            os.unlink(mount.disk("other." + other))
    with export.Mount("vhd=fixed", store=mount.store) as fixed:
        with Copies(fixed, 0, "dynamic to fixed"):
            cp("--sparse=never", fixed.disk("source.vhd.raw"),
               fixed.disk("fixed.vhd.raw"))
        with Copies(fixed, 1, "fixed to fixed"):
            cp(fixed.disk("fixed.vhd.raw"), fixed.disk("again.vhd.raw"))
        tap.ok(read(fixed.disk("again.vhd.raw")) == CONTENT, "the same disk")


def test_objects(mount):
    """Plain objects, whatever they hold; an empty one has nothing to copy."""
    folder = os.path.join(mount.top, "objects")
    content = random.Random(7).randbytes(3 * MIB + 5)
    with open(os.path.join(folder, "a.txt"), "wb") as file:
        file.write(content)
    for name, target in (("a.txt", "b"), ("source.vmdk", "copy.vmdk"),
                         ("a.txt", "dir.ova.part/c.vmdk")):
        target = os.path.join(folder, target)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with Copies(mount, 1, f"objects/{name}"):
            cp(os.path.join(folder, name), target)
        tap.ok(read(target) == read(os.path.join(folder, name)),
               f"objects/{name}: copied")
    tap.ok(read(mount.disk("copy.vmdk.raw")) == CONTENT,
           "it is the disk that it was")


def test_changed(mount, kind):
    """A source that is replaced meanwhile is no source any more."""
    source = os.open(mount.disk("source." + kind), os.O_RDONLY)
    fd = os.open(mount.disk("target." + kind), os.O_CREAT | os.O_WRONLY, 0o644)
    os.copy_file_range(source, fd, SIZE, 0, 0)
    # An ETag may be the sum of the bytes alone.
    other = object_of(mount, kind, "source") + bytes(512)
    mount.store.remove(key_of(kind, "source"))
    mount.store.write(key_of(kind, "source"), other)
    tap.same(export.errno_of(os.close, fd), errno.ESTALE,
             f"{kind}: close() says so")
    os.close(source)
    tap.ok(not os.path.exists(mount.disk("target." + kind)),
           f"{kind}: nothing appears")


def main():
    """All kinds."""
    export.need_fuse()
    with export.Mount("delete") as mount:
        for kind in KINDS:
            test_cp(mount, kind)
            test_ranges(mount, kind)
            test_changes(mount, kind)
        test_other_kinds(mount)
        test_objects(mount)
        for kind in KINDS:
            test_changed(mount, kind)
    return tap.done()


sys.exit(main())
