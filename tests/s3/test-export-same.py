#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The same disk, written into a directory and into a bucket, becomes the same
object, byte for byte: each format and option, sized before or not, by one
request or by parts."""

import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts  # noqa: E402

MIB = 1 << 20
# Bytes that can be packed, some that cannot, and holes.
CHANCE = random.Random(5)
PIECES = [(0, b"boot" * 128), (70000, CHANCE.randbytes(2 * MIB)),
          (5 * MIB, b"text that repeats itself " * 40000),
          (9 * MIB, CHANCE.randbytes(9 * MIB)), (40 * MIB, b"end")]
SIZE = 41 * MIB + 512
NAMES = ("a.vmdk", "a.vhd", "a.vhdx", "a.raw")
OPTIONS = ((), ("compression=small",), ("compression=smallest",),
           ("vhd=fixed",), ("vhdx=fixed",), ("spool=always",),
           ("memory=64M",))


def write(path, is_sized, last):
    """One disk."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    if is_sized:
        os.ftruncate(fd, SIZE)
    for offset, data in PIECES[:last]:
        for at in range(0, len(data), 100000):
            os.pwrite(fd, data[at:at + 100000], offset + at)
    if not is_sized:
        os.ftruncate(fd, SIZE)
    os.close(fd)


def read(path):
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def write_all(mount):
    """All disks, and an OVA of one."""
    for name in NAMES:
        path = mount.path("disks/" + name.removesuffix(".raw") + ".raw")
        for is_sized in False, True:
            for last in 2, len(PIECES):
                new = path.replace("/a.", f"/{is_sized}-{last}.")
                write(new, is_sized, last)
    os.mkdir(mount.path("disks/x.ova.part"))
    write(mount.path("disks/x.ova.part/d.vmdk.raw"), True, len(PIECES))
    os.rename(mount.path("disks/x.ova.part"), mount.path("disks/x.ova"))


def objects(top):
    """{name: bytes}."""
    return {name: read(os.path.join(top, name))
            for name in sorted(os.listdir(top)) if not name.startswith(".")}


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        root = os.path.join(top, "root")
        os.mkdir(root)
        with Server(root) as server:
            remote = ("endpoint=" + server.url(), "addressing=path")
            for n, options in enumerate(OPTIONS):
                local = os.path.join(top, f"local{n}")
                bucket = os.path.join(root, f"bucket{n}")
                os.mkdir(local)
                os.mkdir(bucket)
                with Mount(top, local, *options) as mount:
                    write_all(mount)
                with Mount(top, f"s3://bucket{n}", *remote,
                           *options) as mount:
                    write_all(mount)
                want, got = objects(local), objects(bucket)
                what = " ".join(options) or "defaults"
                tap.same(list(got), list(want), f"{what}: all are there")
                for name, data in want.items():
                    tap.ok(got.get(name) == data, f"{what}: {name}, "
                           f"{len(data)} bytes")
            tap.ok(server.log(op="complete-upload") and
                   server.log(op="put"), "in parts and at once")
            tap.same(server.uploads(), [], "no part upload is left")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
