#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""1, 4 and 16 writers at once into a bucket stay within -o memory= and take no
scratch space; each object is what a directory gets of the same disk."""

import concurrent.futures
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
from mounted import Mount, need_mounts  # noqa: E402

MIB = 1 << 20
BLOCK = memoryview(random.Random(5).randbytes(24 * MIB))
# How many at once, and the MiB of each: three parts and more.
WRITERS = ((1, 64), (4, 24), (16, 17))
BUDGETS = ((32, WRITERS[:1]), (64, WRITERS), (256, WRITERS))
# What the process has besides the budget, in MiB.
OTHER = 48
PATIENCE = 300  # seconds


def pieces(number, mib):
    """The bytes of a disk, another one for each number."""
    for at in range(mib):
        start = (at + number) * MIB % len(BLOCK)
        yield BLOCK[start:start + MIB]


def open_new(path):
    """Where others have all memory, open() waits, and fails at last."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
        except OSError as error:
            if error.errno != errno.ENOMEM or time.monotonic() > end:
                raise


def write(path, number, mib):
    """One writer; the number of the error that it met, or 0."""
    try:
        fd = open_new(path)
        try:
            for piece in pieces(number, mib):
                os.write(fd, piece)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno
    return 0


def references(top):
    """{(number, mib): path} of what a directory gets of each disk."""
    found = {}
    for count, mib in WRITERS:
        store = os.path.join(top, f"directory-{mib}")
        os.mkdir(store)
        # Of the same names, which are in them.
        with Mount(top, store) as mount:
            for n in range(count):
                tap.same(write(mount.path(f"disks/{n}.vmdk.raw"), n, mib), 0,
                         f"{n}.vmdk of {mib} MiB into a directory")
                found[n, mib] = os.path.join(store, f"{n}.vmdk")
    return found


def check_object(server, key, path, memory):
    """Is it as the directory has it, in parts of the right size?"""
    parts = sent.parts_of(server, key)
    tap.same(sent.wrong_sizes(parts, memory, 5 * MIB), "",
             f"{key}: {len(parts)} parts")
    tap.same(sent.wrong_bytes(parts, path), "", f"{key}: its bytes")


def check_one(server, top, memory, count, mib, wanted):
    """So many writers of a mount of its own."""
    what = f"memory={memory}M, {count} at once"
    prefix = f"{memory}-{count}"
    server.reset()
    with Mount(top, "s3://one/" + prefix, "endpoint=" + server.url(),
               "addressing=path", f"scratch={top}",
               f"memory={memory}M") as mount:
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            jobs = [pool.submit(write, mount.path(f"disks/{n}.vmdk.raw"), n,
                                mib) for n in range(count)]
            said = [job.result() for job in jobs]
        tap.same(said, [0] * count, f"{what}: all are complete")
        for number in range(count):
            check_object(server, f"{prefix}/{number}.vmdk",
                         wanted[number, mib], memory * MIB)
        stats = json.loads(mount.text("control/stats"))
        tap.same(stats["writing"]["scratch"]["peak"], 0,
                 f"{what}: no scratch space")
        peak = stats["engine"]["memory_peak"]
        tap.ok(peak <= memory * MIB, f"{what}: the budget holds", str(peak))
        print(f"# of the budget: {peak >> 20} MiB")
        mount.check_memory(memory + OTHER)
    tap.same(server.uploads(), [], f"{what}: no part upload is left")


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        root = os.path.join(top, "root")
        os.makedirs(os.path.join(root, "one"))
        wanted = references(top)
        with Server(root, "--forget") as server:
            for memory, writers in BUDGETS:
                for count, mib in writers:
                    check_one(server, top, memory, count, mib, wanted)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
