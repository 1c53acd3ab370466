#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Large disks into a bucket: memory, scratch space, the schedule of parts, and
bytes as a directory gets them of the same disk. By hand (make check-large): it
takes a quarter of an hour, and room for the largest disk below TMPDIR.

EXPORT_LARGE_GIB are the dense ones' sizes: VMDK, and VHD and VHDX."""

import json
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import sent  # noqa: E402
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
SPARSE = 100  # GiB
DENSE, OTHERS = map(int, os.environ.get("EXPORT_LARGE_GIB", "20,4").split(","))
BUDGETS = (64, 256)  # MiB
# What the process has besides the budget, in MiB.
OTHER = 48
BLOCK = memoryview(random.Random(6).randbytes(64 * MIB))
STRIDE = 5 * MIB + 4097


def piece(number):
    """A MiB that no other number has, among some millions."""
    start = number * STRIDE % (len(BLOCK) - MIB)
    return BLOCK[start:start + MIB]


def write_dense(path, gib):
    """No zeroes, and no size that is told before."""
    with open(path, "wb", 0) as file:
        for number in range(gib << 10):
            file.write(piece(number))


def write_sparse(path, gib):
    """One MiB in each GiB, and a size that is told before."""
    with open(path, "wb", 0) as file:
        file.truncate(gib * GIB)
        for number in range(gib):
            os.pwrite(file.fileno(), piece(number), number * (GIB + 4096))


CASES = (("sparse.vmdk", write_sparse, SPARSE),
         ("dense.vmdk", write_dense, DENSE),
         ("sparse.vhd", write_sparse, SPARSE),
         ("sparse.vhdx", write_sparse, SPARSE),
         ("dense.vhd", write_dense, OTHERS),
         ("dense.vhdx", write_dense, OTHERS))


def timed(act, *args):
    """Seconds that it took."""
    begin = time.monotonic()
    act(*args)
    return time.monotonic() - begin


def check_sent(server, key, mib, reference):
    """Parts, and what is in them."""
    parts = sent.parts_of(server, key)
    # With less there is no room for larger parts.
    least = None if mib >= 256 else 8 * MIB
    tap.same(sent.wrong_sizes(parts, mib * MIB, least), "",
             f"{key}: sizes of parts")
    tap.same(sent.wrong_bytes(parts, reference), "", f"{key}: its bytes")
    return len(parts)


def export(server, top, mib, case, reference):
    """One disk, one mount."""
    name, write, gib = case
    what = f"{name}, {gib} GiB, memory={mib}M"
    server.reset()
    with Mount(top, "s3://one", "endpoint=" + server.url(), f"memory={mib}M",
               "addressing=path", f"scratch={top}", level="info") as mount:
        seconds = timed(write, mount.path(f"disks/{name}.raw"), gib)
        counts = server.counts()
        stats = json.loads(mount.text("control/stats"))
        peak = stats["engine"]["memory_peak"]
        tap.same(stats["writing"]["scratch"]["peak"], 0,
                 f"{what}: no scratch space")
        tap.ok(peak <= mib * MIB, f"{what}: the budget holds", str(peak))
        mount.check_memory(mib + OTHER)
        rss = mount.memory()
    count = check_sent(server, name, mib, reference)
    tap.same(server.uploads(), [], f"{what}: no part upload is left")
    requests = ", ".join(f"{row['requests']} {op}"
                         for op, row in sorted(counts.items()))
    print(f"# {what}: {os.path.getsize(reference)} bytes in {seconds:.1f} s, "
          f"{rss} MiB resident, {peak / MIB:.1f} of the budget, {count} "
          f"parts; {requests}")


def check_case(server, top, case):
    """A disk into a directory, then into the bucket."""
    name, write, gib = case
    store = os.path.join(top, "directory")
    os.mkdir(store)
    with Mount(top, store, level="info") as mount:
        seconds = timed(write, mount.path(f"disks/{name}.raw"), gib)
    print(f"# {name}: {seconds:.1f} s into a directory")
    for mib in BUDGETS:
        export(server, top, mib, case, os.path.join(store, name))
        os.unlink(os.path.join(server.root, "one", name))
    shutil.rmtree(store)


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        root = os.path.join(top, "root")
        os.makedirs(os.path.join(root, "one"))
        with Server(root, "--forget") as server:
            for case in CASES:
                check_case(server, top, case)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
