#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Writing into a bucket: what may be written there, and by whom; what a store
that cannot give back what it was sent makes of writers who go back."""

import errno
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(__file__))
# pylint: disable=wrong-import-position
import export  # noqa: E402
import remote  # noqa: E402
from remote import tap  # noqa: E402

DATA = random.Random(8).randbytes(3 << 20)
NAMES = ["a.vmdk.raw", "a.vhd.raw", "a.vhdx.raw", "a.raw"]


def modes(mnt, *names):
    """Permission bits."""
    return [oct(os.stat(os.path.join(mnt, name)).st_mode & 0o777)
            for name in names]


def write(path, *more):
    """A new file, then what else is to be written where."""
    with open(path, "wb", 0) as file:
        file.write(DATA)
        for offset, data in more:
            os.pwrite(file.fileno(), data, offset)


def last_error(mnt):
    """The newest line of control/errors."""
    with open(os.path.join(mnt, "control/errors"), encoding="utf-8") as file:
        return json.loads(file.readlines()[-1])["error"]


def stored(top):
    """The objects of the bucket."""
    return sorted(os.listdir(os.path.join(top, "store/bucket")))


def test_rights(top, server):
    """-o ro, nothing, and -o overwrite."""
    for options, where, mode in (("ro", "0o555", "0o444"),
                                 ("umask=0", "0o755", "0o444"),
                                 ("overwrite", "0o755", "0o644")):
        with remote.mounted(server, top, "s3://bucket", options) as mnt:
            tap.same(modes(mnt, "disks", "objects", "disks/old.raw"),
                     [where, where, mode], f"{options}: modes")
            old = os.path.join(mnt, "disks/old.raw")
            new = os.path.join(mnt, "disks/new.vmdk.raw")
            tap.same((export.errno_of(os.open, old, os.O_WRONLY),
                      export.errno_of(write, new)),
                     {"ro": (errno.EROFS, errno.EROFS),
                      "umask=0": (errno.EACCES if os.geteuid()
                                  else errno.EEXIST, 0),
                      "overwrite": (0, 0)}[options],
                     f"{options}: what may be written")
    with remote.mounted(server, top, "s3://") as mnt:
        tap.same(modes(mnt, "disks", "disks/bucket"), ["0o555", "0o755"],
                 "all buckets: no new ones are made")
        write(os.path.join(mnt, "disks/bucket/b.vmdk.raw"))
        tap.ok("b.vmdk" in stored(top), "objects are")


def test_back(top, server):
    """To change what was sent needs -o spool=always."""
    changed = bytes(5) + DATA[5:]
    with remote.mounted(server, top, "s3://bucket") as mnt:
        for name in NAMES:
            path = os.path.join(mnt, "disks", name)
            tap.same(export.errno_of(write, path, (0, bytes(5))),
                     errno.EOPNOTSUPP, f"{name}: cannot be changed")
            tap.ok("-o spool=always" in last_error(mnt), f"{name}: the remedy")
            tap.ok(not os.path.exists(path), f"{name}: nothing comes of it")
    with remote.mounted(server, top, "s3://bucket", "spool=always") as mnt:
        for name in NAMES:
            path = os.path.join(mnt, "disks", name)
            write(path, (0, bytes(5)))
            with open(path, "rb") as file:
                tap.ok(file.read() == changed, f"{name}: spooled, changed")


def test_announced(top, server):
    """A size that is told before, and that is not what comes."""
    with remote.mounted(server, top, "s3://bucket") as mnt:
        path = os.path.join(mnt, "disks/c.vhd.raw")
        with open(path, "wb", 0) as file:
            file.truncate(len(DATA))
            file.write(DATA)
        tap.ok(os.stat(os.path.join(mnt, "objects/c.vhd")).st_size <
               len(DATA) + (1 << 20) + 4096, "a VHD as large as it must be")
        fd = os.open(os.path.join(mnt, "disks/d.vhd.raw"),
                     os.O_CREAT | os.O_WRONLY)
        os.ftruncate(fd, 4096)
        os.write(fd, DATA)
        tap.same(export.errno_of(os.pwrite, fd, b"x", 1 << 30), errno.EFBIG,
                 "one that outgrows its table fails")
        tap.same(export.errno_of(os.close, fd), errno.EFBIG, "at close, too")
        tap.ok("was given a size of 4096" in last_error(mnt), "errors: why")
        path = os.path.join(mnt, "disks/d.vmdk.raw")
        with open(path, "wb", 0) as file:
            file.truncate(4096)
            file.write(DATA)
            os.pwrite(file.fileno(), b"x", 1 << 30)
        tap.same(os.stat(path).st_size, (1 << 30) + 512, "others just grow")


def main():
    """All of it, over the scripted server."""
    remote.need_fuse()
    with remote.scratch() as (top, server):
        os.mkdir(os.path.join(top, "store/bucket"))
        with open(os.path.join(top, "store/bucket/old.raw"), "wb") as file:
            file.write(DATA)
        test_rights(top, server)
        test_back(top, server)
        test_announced(top, server)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
