#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Memory and scratch space of large writes: 100 GiB with holes, and more dense
bytes than the budget has room for, stay within -o memory= and take no scratch
space. Raw, a real server would store all of the holes: it gets less."""

import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

LIMIT = 48 << 20
# What the process has besides the budget.
OTHER = 64 << 20
GIB = 1 << 30


def engine(mount):
    """control/stats of the engine."""
    with open(os.path.join(mount.top, "control/stats"),
              encoding="utf-8") as stats:
        return json.load(stats)["engine"]


def peak_of(mount):
    """The most memory that the daemon ever had, in bytes."""
    with open(f"/proc/{mount.daemon.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def size_of(name):
    """How large a disk with holes is to be, in GiB."""
    keeps_holes = stores.kind() in ("", "scripted")
    return 100 if keeps_holes or name != "a.raw" else 2


def write_sparse(mount, name, block):
    """A large disk with some bytes in 25 places."""
    size = size_of(name) * GIB
    places = [at * (size // 25 + 1000) for at in range(25)]
    fd = os.open(mount.disk(name), os.O_CREAT | os.O_WRONLY)
    for place in places:
        os.pwrite(fd, block, place)
    os.ftruncate(fd, size)
    os.close(fd)
    fd = os.open(mount.disk(name), os.O_RDONLY)
    tap.same(os.lseek(fd, 0, os.SEEK_END), size, f"{name}: its size")
    tap.ok(all(os.pread(fd, len(block), place) == block for place in places),
           f"{name}: its bytes")
    tap.same(os.pread(fd, 4096, places[12] - 5000), bytes(4096),
             f"{name}: a hole")
    os.close(fd)


def main():
    """Both, for all formats."""
    export.need_fuse()
    block = random.Random(1).randbytes(100000)
    with export.Mount(f"memory={LIMIT}", "delete") as mount:
        for name in "a.vmdk.raw", "a.vhd.raw", "a.vhdx.raw", "a.raw":
            write_sparse(mount, name, block)
            os.unlink(mount.disk(name))
            subprocess.run(["dd", "if=/dev/urandom", "bs=1M", "count=150",
                            "status=none", "of=" + mount.disk(name)],
                           check=True)
            tap.same(os.stat(mount.disk(name)).st_size, 150 << 20,
                     f"{name}: dense")
            os.unlink(mount.disk(name))
        tap.same(mount.writing()["scratch"]["peak"], 0, "no scratch space")
        peak = engine(mount)["memory_peak"]
        tap.ok(peak <= LIMIT, "the budget holds", f"{peak} of {LIMIT}")
        peak = peak_of(mount)
        print(f"# the daemon had {peak >> 20} MiB")
        if tap.is_sanitized():
            tap.skip("the process", "a sanitizer has memory of its own")
        else:
            tap.ok(peak <= LIMIT + OTHER, "so does the process", str(peak))
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
