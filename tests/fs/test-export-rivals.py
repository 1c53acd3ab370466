#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Two who write the same object at once, in one mount and in two: what is there
in the end are the bytes of one of them, whole, and of who was told so.

EXPORT_RIVALS_ROUNDS rounds of each kind (default 5, with VMIEFS_TEST_HAND
20)."""

import collections
import concurrent.futures
import errno
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

SMALL, LARGE = 100000, 9 << 20  # one request, two parts
CHANCE = random.Random(int(os.environ.get("EXPORT_RIVALS_SEED", "1")))


def write(path, data, barrier, delay):
    """Open, wait for the other one, close a little later: the error's name,
    "0" without."""
    fd = -1
    try:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        # In one mount the second one is refused here already.
        if fd >= 0:
            write_all(fd, data)
        barrier.wait()
    time.sleep(delay)
    number = export.errno_of(os.close, fd)
    return errno.errorcode.get(number, "0")


def write_all(fd, data):
    """All bytes, in calls that the kernel takes at once."""
    for at in range(0, len(data), 1 << 20):
        os.write(fd, data[at:at + (1 << 20)])


def compete(store, paths, name, size):
    """One round: (what both hear, whose bytes are there or None)."""
    barrier = threading.Barrier(2)
    inputs = [CHANCE.randbytes(size + n) for n in (0, 7)]
    delays = [CHANCE.choice((0, 0, 0.002, 0.02)) for _ in inputs]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(write, path, data, barrier, delay)
                for path, data, delay in zip(paths, inputs, delays)]
        said = [job.result() for job in jobs]
    with open(store.path(name), "rb") as file:
        stored = file.read()
    return said, inputs.index(stored) if stored in inputs else None


def check_round(store, paths, name, size, allowed):
    """The same; what is wrong, and what was heard."""
    said, winner = compete(store, paths, name, size)
    heard = tuple(sorted(said))
    if heard not in allowed:
        return f"the writers hear {said}", heard
    if winner is None:
        return "what is there is of neither of them", heard
    if said[winner] != "0":
        return f"{said}: what is there is of who was refused", heard
    return "", heard


def check(what, store, mounts, size, replaces, allowed):
    """All rounds of one kind."""
    rounds = int(os.environ.get("EXPORT_RIVALS_ROUNDS", 20 if
                                "VMIEFS_TEST_HAND" in os.environ else 5))
    heard = collections.Counter()
    for number in range(rounds):
        name = f"{what.replace(' ', '-')}-{size}-{number}.raw"
        if replaces:
            store.write(name, b"old")
            for mount in mounts:
                export.wait_until(lambda m=mount: os.path.exists(m.disk(name)))
        why, pair = check_round(store, [m.disk(name) for m in mounts], name,
                                size, allowed)
        heard[pair] += 1
        tap.ok(not why, f"{what}, {size} bytes, round {number + 1}", why)
        store.remove(name)
    for pair, count in heard.items():
        print(f"# {what}, {size} bytes: {' and '.join(pair)} {count} times")


def main():
    """In one mount and in two, with and without an object to replace."""
    export.need_fuse()
    store = stores.new()
    # Where the server does not compare at the moment at which the object
    # appears, both may succeed: vmiefs-s3(5), "Objects that exist".
    lax = [] if stores.kind() in ("", "scripted") else [("0", "0")]
    stale = [("0", "ESTALE")]
    with export.Mount("overwrite", store=store) as one, \
            export.Mount("overwrite", store=store) as other, \
            export.Mount(store=store) as first, \
            export.Mount(store=store) as second:
        for size in SMALL, LARGE:
            check("one mount", store, [one, one], size, False,
                  [("0", "EBUSY")])
            check("two mounts", store, [first, second], size, False,
                  [("0", "EEXIST")] + (stale + lax if lax else []))
            check("replacing", store, [one, other], size, True, stale + lax)
    store.drop()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
