#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A bucket of radosgw that has a quota: what does not fit is ENOSPC, in one
request, in parts and copied, and leaves nothing behind; what was there is
whole, and when it is gone there is room again."""

import errno
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fs"))
# pylint: disable=wrong-import-position
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

MIB = 1 << 20
QUOTA = 30 * MIB
KEY = "TESTACCESSKEY0000002"
LARGE = random.Random(1).randbytes(20 * MIB + 5)  # in parts
SMALL = random.Random(2).randbytes(7 * MIB)


def admin(*words):
    """radosgw-admin, whose cache would leave a watch behind."""
    subprocess.run(["radosgw-admin", "-n", "client.rgw",
                    "--rgw-cache-enabled=false", *words, "--uid=small"],
                   check=True, stdout=subprocess.DEVNULL, timeout=120)


def new_store():
    """A bucket of a user whose buckets have a quota."""
    admin("user", "create", "--display-name=small", f"--access-key={KEY}",
          f"--secret-key={os.environ['AWS_SECRET_ACCESS_KEY']}")
    admin("quota", "set", "--quota-scope=bucket", f"--max-size={QUOTA}")
    admin("quota", "enable", "--quota-scope=bucket")
    os.environ["AWS_ACCESS_KEY_ID"] = KEY
    return stores.new()


def write(path, data):
    """What the first call that fails says, 0 without."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    said = 0
    for at in range(0, len(data), MIB):
        said = said or export.errno_of(os.write, fd, data[at:at + MIB])
    return said or export.errno_of(os.close, fd)


def read(path):
    """All bytes."""
    with open(path, "rb") as file:
        return file.read()


def fill(mount):
    """Small ones until one does not fit, which radosgw may notice late: the
    names of those that did, and what the last one heard."""
    names = []
    for number in range(8):
        name = f"c{number}.raw"
        said = write(mount.disk(name), SMALL)
        if said:
            return names, said
        names.append(name)
    return names, 0


def check_full(mount, store):
    """One object fits, a second one does not."""
    tap.same(write(mount.disk("a.raw"), LARGE), 0, "what fits")
    tap.same(write(mount.disk("b.raw"), LARGE), errno.ENOSPC,
             "what does not fit, in parts")
    tap.ok(export.wait_until(lambda: not store.uploads()),
           "no part upload is left", store.uploads())
    tap.same(store.names(), ["a.raw"], "it is not there")
    names, said = fill(mount)
    tap.same(said, errno.ENOSPC, "what does not fit, in one request")
    tap.same(export.errno_of(os.rename, mount.disk("c0.raw"),
                             mount.disk("e.raw")), errno.ENOSPC,
             "renaming needs room for a copy")
    tap.same(store.names(), ["a.raw", *names], "what there is")
    tap.ok(read(store.path("a.raw")) == LARGE and
           all(read(store.path(name)) == SMALL for name in names),
           "and is whole")
    tap.same({e["code"] for e in mount.errors()}, {"QuotaExceeded"},
             "control/errors has what the server said")
    for name in "a.raw", *names:
        os.unlink(mount.disk(name))


def main():
    if stores.kind() != "rgw":
        tap.skip_all("needs radosgw: VMIEFS_TEST_STORE=rgw")
    export.need_fuse()
    store = new_store()
    with export.Mount("delete", "memory=64M", store=store) as mount:
        check_full(mount, store)
        tap.ok(export.wait_until(
            lambda: write(mount.disk("f.raw"), SMALL) == 0, 60),
            "when all is gone there is room again")
    with export.Mount("delete", store=store):
        tap.same(store.uploads(), [], "nor is one after the next mount")
    store.drop()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
