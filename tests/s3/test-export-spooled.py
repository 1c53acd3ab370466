#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Parts that are larger than all memory, and wait in scratch space: what is
sent, again where that failed, what a failure leaves, and scratch space that is
used up. By tests/vmiefs-spooling, where they are the third part and those
behind it."""

import errno
import json
import os
import random
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import sent  # noqa: E402
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, environment, need_mounts  # noqa: E402

MIB = 1 << 20
DATA = random.Random(9).randbytes(150 * MIB)
MEMORY, SPOOLED, SCRATCH = 32, 48, 80  # MiB
# What the process has besides the budget, in MiB.
OTHER = 48
EVER = {"count": None}
NAMES = "a.vmdk", "a.vhd", "a.vhdx", "a.raw"


def write(path, data=DATA):
    """All of it, and close(): the numbers of the errors that were met."""
    said = []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for at in range(0, len(data), MIB):
            os.write(fd, data[at:at + MIB])
    except OSError as error:
        said.append(error.errno)
    try:
        os.close(fd)
    except OSError as error:
        said.append(error.errno)
    return said


def disk(mount, name):
    """Where a disk is to be written."""
    return mount.path("disks/" + name.removesuffix(".raw") + ".raw")


def spool(mount):
    """(bytes now, the most there were) of scratch space."""
    stats = json.loads(mount.text("control/stats"))["writing"]["scratch"]
    return stats["used"], stats["peak"]


def wait_until(holds, seconds=60):
    """False when it has not come true by then."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Place:
    """A server with one bucket, and what a directory has of the same disks."""

    def __init__(self, top):
        self.top = top
        self.scratch = os.path.join(top, "scratch")
        self.store = os.path.join(top, "directory")
        for name in "root/one", "scratch", "directory":
            os.makedirs(os.path.join(top, name))
        self.server = Server(os.path.join(top, "root"), "--forget")
        with Mount(top, self.store) as mount:
            for name in NAMES:
                tap.same(write(disk(mount, name)), [], f"a directory: {name}")

    def mount(self, *options):
        """A mount of the bucket."""
        return Mount(self.top, "s3://one", "endpoint=" + self.server.url(),
                     "addressing=path", f"scratch={self.scratch}",
                     f"memory={MEMORY}M", f"scratch-size={SCRATCH}M", "delete",
                     "store-timeout=4", *options,
                     program="tests/vmiefs-spooling",
                     env=environment(VMIEFS_TEST_SPOOLED=str(SPOOLED * MIB)))

    def is_gone(self, mount, what):
        """Nothing is left of an upload."""
        tap.ok(wait_until(lambda: not self.server.uploads() and
                          spool(mount)[0] == 0),
               f"{what}: no upload is left, nor scratch space",
               f"{self.server.uploads()} {spool(mount)}")
        tap.ok(os.listdir(mount.path("objects")) == [],
               f"{what}: there is no object")


def check_whole(place, mount, name, what):
    """A disk was written: what was sent?"""
    parts = sent.parts_of(place.server, name)
    sizes = [size for size, _ in parts]
    small = sizes[0]
    tap.ok(5 * MIB <= small <= 8 * MIB and sizes[1] == small and
           set(sizes[2:-1]) == {SPOOLED * MIB} and
           0 < sizes[-1] <= SPOOLED * MIB, f"{what}: {len(sizes)} parts",
           str(sizes))
    tap.same(sent.wrong_bytes(parts, os.path.join(place.store, name)), "",
             f"{what}: its bytes")
    used, peak = spool(mount)
    tap.ok(used == 0 and SPOOLED * MIB <= peak <= SCRATCH * MIB,
           f"{what}: scratch space is used and given back", f"{used} {peak}")
    tap.same(place.server.uploads(), [], f"{what}: no upload is left")


# How the server fails before it does what it is told.
FAULTS = (("nothing", []),
          ("two that are busy",
           [{"op": "upload-part", "query": "Number=[34]&", "do": "reply",
             "status": 503, "code": "SlowDown", "count": 2}]),
          ("two that break off",
           [{"op": "upload-part", "query": "Number=[34]&", "do": "reset",
             "at": "body", "after": 20 * MIB, "count": 2}]),
          ("an answer that is lost",
           [{"op": "upload-part", "query": "Number=3&", "do": "reset",
             "at": "request"}]))


def check_good(place):
    """All formats, and each fault, which is got over."""
    for (what, rules), name in zip(FAULTS, NAMES):
        place.server.reset()
        place.server.rules(*rules)
        with place.mount() as mount:
            tap.same(write(disk(mount, name)), [], f"{name}, {what}")
            tried = len(place.server.log(op="upload-part"))
            good = len(place.server.log(op="upload-part", status="200"))
            tap.same(tried - good, sum(r.get("count", 1) for r in rules),
                     f"{name}: so many requests have failed")
            check_whole(place, mount, name, f"{name}, {what}")
            mount.check_memory(MEMORY + OTHER)
            os.unlink(disk(mount, name))


def check_failure(place):
    """A part that fails for ever."""
    place.server.rules({"op": "upload-part", "query": "Number=4&",
                        "do": "reply", "status": 403, "code": "AccessDenied",
                        **EVER})
    with place.mount() as mount:
        tap.same(set(write(disk(mount, "bad.vmdk"))), {errno.EACCES},
                 "a part that is refused")
        place.is_gone(mount, "a part that is refused")


def check_full(place):
    """Two writers who need more than there is: who has no part on its way that
    it could wait for is told."""
    place.server.reset()
    with place.mount("memory=128M") as mount:
        fd = os.open(disk(mount, "a.vmdk"), os.O_CREAT | os.O_WRONLY)
        half = memoryview(DATA)[:len(DATA) // 2]
        while half:
            half = half[os.write(fd, half):]
        tap.ok(wait_until(lambda: spool(mount)[0] == SPOOLED * MIB),
               "one writer has a part in scratch space", str(spool(mount)))
        tap.same(set(write(disk(mount, "second.vmdk"))), {errno.ENOSPC},
                 "another one meets ENOSPC")
        tap.ok(f"the {SCRATCH * MIB} bytes of -o scratch-size=" in
               mount.text("control/errors"), "control/errors names the option",
               mount.text("control/errors"))
        half = memoryview(DATA)[len(DATA) // 2:]
        while half:
            half = half[os.write(fd, half):]
        os.close(fd)
        check_whole(place, mount, "a.vmdk", "the first one")
        tap.same(write(disk(mount, "second.vmdk")), [], "which goes then")


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        place = Place(top)
        with place.server:
            check_good(place)
            check_failure(place)
            check_full(place)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
