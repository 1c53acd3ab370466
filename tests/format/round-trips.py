#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""round-trips.py: what looking at, opening and first reading each kind of
container costs over a store where a request costs as much as 128 KiB. Reading
too much is a failure, as is one request more that somebody has to wait for."""

import os
import subprocess
import sys
import tempfile

from blockcase import Case, Sparse
import make_vhd
import make_vhdx
import make_vmdk
from vmdk_multi import split_of, text_disk
from vmdk_recipe import single, stream

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import tap  # noqa: E402

FETCH = 128 << 10
DELAY = 40  # milliseconds: longer than it takes to start a thread
TRIES = 5   # each twice as slow: on a busy machine that may take longer
KIB, MIB = 1 << 10, 1 << 20

# For each case: steps of "requests trips KiB", in which the bytes are rounded
# up; "*" is not compared, "-4" is at most 4. stat, open, read at the start,
# read in the middle.
TABLE = {
    # The size is in the listing.
    "raw": ("0 0 0", "0 0 0", "1 1 64", "1 1 64"),
    # One end tells the size; both are fetched at once to open it.
    "vhd/good-fixed": ("1 1 1", "2 1 129", "1 1 64", "1 1 64"),
    "vhd/good-dynamic": ("1 1 4", "2 1 132", "1 1 64", "0 0 0"),
    "vhd/good-dynamic-header-far": ("1 1 67", "2 1 195", "1 1 64", "1 1 64"),
    # Without a sound footer at the end the copy is needed.
    "vhd/warn-tail-damaged": ("2 2 132", "2 1 132", "1 1 64", "1 1 64"),
    # The identifier, headers and region tables (320 KiB), then metadata; to
    # open it, where metadata and block table are likely to be with the rest.
    "vhdx/good-dynamic": ("2 2 448", "4 1 704", "1 1 64", "0 0 0"),
    "vhdx/good-fixed": ("2 2 448", "4 1 704", "1 1 64", "1 1 64"),
    "vhdx/good-block-256m": ("2 2 448", "4 1 704", "0 0 0", "0 0 0"),
    # The log, and what it changes, is read too, at the first look as well.
    "vhdx/log-single": ("7 5 1984", "7 4 1984", "2 2 128", "1 1 64"),
    "vmdk/good-sparse": ("1 1 128", "2 1 256", "1 1 64", "0 0 0"),
    "vmdk/good-stream-front": ("1 1 128", "2 1 133", "1 1 65", "0 0 0"),
    # Here the tables lie one page before the footer.
    "vmdk/big-footer": ("1 1 128", "2 1 132", "2 2 129", "1 1 65"),
    "vmdk/big-front": ("1 1 128", "2 1 *", "1 1 65", "1 1 65"),
    "vmdk/good-stream-capacity-late": ("2 2 143", "2 1 143", "1 1 65",
                                       "0 0 0"),
    # The descriptor, a listing, what all extents begin with.
    "vmdk/split-48": ("50 3 *", "50 3 *", "1 1 64", "1 1 64"),
    "vmdk/good-split-sparse": ("5 3 *", "5 3 *", "1 1 64", "0 0 0"),
    # Streams are opened by their ends, too. One is shorter than a page.
    "vmdk/good-split-stream": ("* 4 *", "* 4 *", "1 1 65", "* * *"),
    # One extent is asked for by itself.
    "vmdk/good-flat": ("2 2 *", "2 2 *", "1 1 64", "1 1 64"),
    # The child, a listing, the parent; then the likeliest of the others, 16
    # at a time.
    "vmdk/good-delta": ("5 3 *", "5 3 *", "1 1 64", "* * *"),
    "vmdk/good-delta-chain": ("7 4 *", "7 4 *", "1 1 64", "* * *"),
    "vmdk/good-delta-deep": ("* 5 *", "* 5 *", "1 1 64", "* * *"),
    "vmdk/good-delta-split": ("* 3 *", "* 3 *", "1 1 64", "* * *"),
    "vhd/good-diff": ("* 4 *", "5 3 *", "* * *", "* * *"),
    "vhd/good-diff-chain": ("* 4 *", "7 3 *", "* * *", "* * *"),
    "vhd/good-diff-by-id": ("* 4 *", "8 3 *", "* * *", "* * *"),
    "vhdx/good-diff": ("* 4 *", "9 3 *", "* * *", "* * *"),
    "vhdx/good-diff-chain": ("* 4 *", "12 3 *", "* * *", "* * *"),
    "vhdx/good-diff-by-id": ("* -5 *", "* -4 *", "* * *", "* * *"),
}


def big_stream(name, layout):
    """A stream of some MiB, so that its ends lie apart."""
    grains = list(range(0, 600, 5))
    return single(name, stream(name, 600 * 128, grains, layout=layout))


def split(count):
    """A disk of many extents."""
    lines, files, raw, _ = split_of("split", [(1024, [0, 7])] * count)
    return text_disk("split", lines, "twoGbMaxExtentSparse", files, raw)


def find_case(module, name):
    return next(case for case in module.cases() if case.name == name)


def cost(folder, key, delay):
    """The steps that opencost tells, as [name, requests, trips, KiB]."""
    tool = os.path.join(os.environ.get("top_builddir", "."),
                        "tests/tools/opencost")
    done = subprocess.run([tool, folder, key, str(FETCH), str(delay)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode:
        return done.stdout, []
    steps = [line.split() for line in done.stdout.splitlines()
             if not line.startswith("\t")]
    return done.stdout, [[int(step[1]), int(step[2]),
                          -(-int(step[3]) // KIB)] for step in steps]


def matches(number, pattern):
    """As in TABLE."""
    return pattern in ("*", str(number)) or (
        pattern.startswith("-") and number <= int(pattern[1:]))


def fits(got, want):
    """got as lists of numbers, want as in TABLE."""
    return len(got) == len(want) and all(
        matches(number, pattern)
        for step, text in zip(got, want)
        for number, pattern in zip(step, text.split()))


def check(name, folder, key, want):
    """Chance can only make trips more, so the best of some tries counts."""
    for i in range(TRIES):
        log, got = cost(folder, key, DELAY << i)
        if fits(got, want):
            break
    tap.ok(fits(got, want), name, f"{log}want: {want}")


def check_table(folder):
    modules = {"vhd": make_vhd, "vhdx": make_vhdx, "vmdk": make_vmdk}
    for name, want in TABLE.items():
        place = os.path.join(folder, name.replace("/", "-"))
        os.makedirs(place)
        if name == "raw":
            case = Case("raw", {"disk.raw": Sparse(4 * MIB)})
        elif name.startswith("vmdk/split-"):
            case = split(int(name[11:]))
        elif name.startswith("vmdk/big-"):
            case = big_stream(name[5:], name[9:])
        else:
            module, _, case = name.partition("/")
            case = find_case(modules[module], case)
        check(name, place, os.path.basename(case.save(place)), want)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        check_table(scratch)
    tap.done()
