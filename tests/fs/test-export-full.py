#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A store, and scratch space, without room: whatever the moment, the writer is
told, nothing is left, what was there before stays, and the mount goes on."""

import contextlib
import errno
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

KIB = 1024
DATA = random.Random(6).randbytes(300 * KIB)
NAMES = ["a.vmdk.raw", "a.vhd.raw", "a.vhdx.raw", "a.raw"]
# Blocks that are left: from none to more than any of them needs.
ROOMS = [0, 1, 2, 3, 5, 8, 20, 50, 70, 73, 75, 76, 77, 78, 80, 85, 90, 100,
         120, 140, 200, 300, 1090, 1098, 1100, 1102, 1104, 1110, 1400]


@contextlib.contextmanager
def small_disk(*options):
    """A file system of 16 MiB of its own, with a folder store/."""
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        image, where = os.path.join(top, "image"), os.path.join(top, "fs")
        os.mkdir(where)
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-b", "4096", *options,
                        image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, where],
                          check=False).returncode:
            tap.skip_all("no loop mounts here")
        try:
            os.mkdir(os.path.join(where, "store"))
            yield where
        finally:
            subprocess.run(["umount", "-l", where], check=True)


def free_blocks(where):
    """As of now, when all that is to go has gone."""
    fd = os.open(where, os.O_RDONLY)
    export.LIBC.syncfs(fd)
    os.close(fd)
    return os.statvfs(where).f_bavail


def fill(where, blocks):
    """Leave only so many blocks."""
    path = os.path.join(where, "fill")
    with open(path, "ab") as file:
        file.truncate(0)
        much = free_blocks(where) - blocks
        while much > 0:
            size = os.fstat(file.fileno()).st_size
            # Its own tables need blocks, too.
            if export.errno_of(os.posix_fallocate, file.fileno(), size,
                               much * 4096):
                much -= 1
            else:
                much = free_blocks(where) - blocks


def write(mount, name, pieces, flags=0):
    """Write pieces to a file: the errnos of opening or writing, and of
    closing."""
    try:
        fd = os.open(mount.disk(name), os.O_CREAT | os.O_WRONLY | flags)
    except OSError as error:
        return error.errno, error.errno
    got = 0
    for offset, data in pieces:
        got = got or export.errno_of(os.pwrite, fd, data, offset)
    last = export.errno_of(os.close, fd)
    export.wait_until(lambda: not mount.writing()["now"])
    return got or last, last


def read(path):
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


IN_ORDER = [(0, DATA)]
# Backwards: it waits in scratch, which is elsewhere.
BACKWARDS = [(150 * KIB, DATA[150 * KIB:]), (0, DATA[:150 * KIB])]
# Goes back to what has been packed: two containers at a time.
AGAIN = [(0, bytes(512) + DATA[512:]), (0, DATA[:512])]


def store_of(where):
    """The one on that disk."""
    return stores.Directory(os.path.join(where, "store"))


def check_one(mount, where, name, pieces):
    """One write: what is wrong, or "", and whether there was room."""
    before = free_blocks(where)
    got = write(mount, name, pieces)
    if got == (0, 0):
        if read(mount.disk(name))[:len(DATA)] != DATA:
            return "the disk has other bytes", True
        os.unlink(mount.disk(name))
        if not export.wait_until(lambda: free_blocks(where) >= before):
            return "removed, it does not give its room back", True
        return "", True
    if got[0] != errno.ENOSPC or got[1] != errno.ENOSPC:
        return f"errnos {got}", False
    if mount.stored():
        return f"left: {mount.stored()}", False
    if free_blocks(where) != before:
        return f"{before} blocks were free, then {free_blocks(where)}", False
    return "", False


def test_rooms(where):
    """From no room at all to enough, for new files."""
    with export.Mount("delete", store=store_of(where)) as mount:
        for name in NAMES:
            for what, pieces in (("in order", IN_ORDER),
                                 ("backwards", BACKWARDS), ("again", AGAIN)):
                bad, good = [], 0
                for room in ROOMS:
                    fill(where, room)
                    why, fits = check_one(mount, where, name, pieces)
                    good += fits
                    bad += [f"{room} blocks: {why}"] if why else []
                tap.ok(not bad, f"{name}, {what}: told, and nothing left",
                       "\n".join(bad))
                tap.ok(0 < good < len(ROOMS), f"{name}, {what}: "
                       f"{good} of {len(ROOMS)} times there was room")
            tap.ok("No space left" in mount.errors()[-1]["error"],
                   f"{name}: errors say why")


def test_replaced(where):
    """An object stays when there is no room for the new one."""
    with export.Mount("overwrite", "delete",
                      store=store_of(where)) as mount:
        for name in NAMES:
            fill(where, 1400)
            tap.same(write(mount, name, IN_ORDER), (0, 0), f"{name}: written")
            fill(where, 10)
            old = read(mount.disk(name))
            for flags, how in (os.O_TRUNC, "anew"), (0, "in part"):
                more = random.Random(1).randbytes(900 * KIB)
                tap.same(write(mount, name, [(9, more)], flags),
                         (errno.ENOSPC,) * 2, f"{name}: no room to write {how}")
                tap.ok(read(mount.disk(name)) == old, f"{name}: it stays")
            fill(where, 1400)
            tap.same(write(mount, name, [(0, b"new")]), (0, 0),
                     f"{name}: with room it goes on")
            tap.ok(read(mount.disk(name)) == b"new" + old[3:],
                   f"{name}: changed")
            os.unlink(mount.disk(name))


def test_scratch(where):
    """What is out of order waits where there is no room."""
    with export.Mount("scratch=" + where) as mount:
        fill(where, 100)
        for name in NAMES:
            pieces = [(at << 20, DATA) for at in range(40, 0, -1)]
            tap.same(write(mount, name, pieces), (errno.ENOSPC,) * 2,
                     f"{name}: scratch space is full")
            tap.same(mount.stored(), [], f"{name}: nothing comes of it")
            tap.ok(free_blocks(where) >= 100, f"{name}: scratch is empty")
        tap.same(write(mount, "b.vmdk.raw", IN_ORDER), (0, 0),
                 "what is in order needs none")


def test_inodes(where):
    """No inode is free."""
    made = 0
    while not export.errno_of(open, os.path.join(where, str(made)), "xb"):
        made += 1
    with export.Mount(store=store_of(where)) as mount:
        for name in NAMES:
            tap.same(write(mount, name, IN_ORDER), (errno.ENOSPC,) * 2,
                     f"{name}: no file can be made")
        tap.same(mount.stored(), [], "nothing is left")
        os.unlink(os.path.join(where, "0"))
        tap.same(write(mount, NAMES[0], IN_ORDER), (0, 0), "one is free")


def main():
    """Run all."""
    export.need_fuse()
    export.need_directory("fills a file system")
    export.need("mkfs.ext4", "losetup")
    if os.geteuid() != 0:
        tap.skip_all("needs root")
    with small_disk("-O", "^has_journal") as where:
        test_rooms(where)
        test_replaced(where)
        test_scratch(where)
    with small_disk("-N", "32") as where:
        test_inodes(where)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
