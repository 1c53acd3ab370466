#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What opening costs over a network, by the server's log: at most four round
trips for any container, and `ls -l` of 1,000 that nobody has opened yet at
most one request for each, two for VHDX, beyond the listing."""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../cmd")]
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from containers import KINDS, convert, make_ova, make_raw  # noqa: E402
from control import Server  # noqa: E402
from images import MIB, run  # noqa: E402
from mounted import Mount, need_mounts  # noqa: E402

LARGE = 96 << 30  # bytes of the disk whose tables are large
MANY = 1000
OPEN_MOST = 4
LIST_MOST = {"dynamic.vhdx": 2, "fixed.vhdx": 2}  # others: 1


def make_library(top):
    """Containers of a small disk and of a large one with little in it, each in
    a folder of its own."""
    store = os.path.join(top, "root/open")
    small, large = os.path.join(top, "small"), os.path.join(top, "large")
    make_raw(small, 24 * MIB)
    with open(large, "wb") as file:
        for at in (0, LARGE // 3, LARGE - MIB):
            file.seek(at)
            file.write(os.urandom(MIB))
    for raw in (small, large):
        for kind in KINDS:
            where = os.path.join(store, f"{os.path.basename(raw)}-{kind}")
            os.makedirs(where)
            convert(raw, where, kind)
    chain, ova = os.path.join(store, "chain"), os.path.join(store, "ova")
    shutil.copytree(os.path.join(store, "small-sparse.vmdk"), chain)
    run("qemu-img", "create", "-q", "-f", "vmdk", "-b", "sparse.vmdk", "-F",
        "vmdk", os.path.join(chain, "child.vmdk"), cwd=chain)
    os.mkdir(ova)
    make_ova(os.path.join(ova, "app.ova"),
             [os.path.join(store, "small-stream.vmdk/stream.vmdk")], 24 * MIB)
    return store


def requests_of(server):
    """What was asked for, one line each."""
    return [f"{e['op']} {e['key']} {e['range']} {e['query']}"
            for e in server.log()]


def round_trips(entries):
    """The longest chain of requests that each began when the one before had
    been answered."""
    depths = []
    for entry in sorted(entries, key=lambda e: e["time"]):
        before = [depth for end, depth in depths if end <= entry["time"]]
        depths.append((entry["end"] or entry["time"],
                       1 + max(before, default=0)))
    return max((depth for _, depth in depths), default=0)


def check_open(server, top, store):
    """Open each container; finding its name is not counted."""
    names = {name: f"{name}/{name.split('-')[1]}.raw"
             for name in os.listdir(store) if "-" in name}
    names.update({"ova": "ova/app.ova/stream.vmdk.raw",
                  "chain": "chain/child.vmdk.raw"})
    for what, name in sorted(names.items()):
        most = OPEN_MOST * (2 if what == "chain" else 1)
        with Mount(top, "s3://open", "endpoint=" + server.url(), "ttl=3600",
                   "addressing=path", level="warning") as mount:
            server.reset()
            server.rules({"do": "latency", "ms": 200, "count": None})
            with open(mount.path(f"disks/{name}"), "rb", 0):
                entries = server.log(op="get") + server.log(op="head")
            trips = round_trips(entries)
            tap.ok(0 < trips <= most, f"open {what}: {trips} round trips, at "
                   f"most {most} ({len(entries)} requests)",
                   "\n".join(requests_of(server)))
            server.rules()


def check_list(server, top, store):
    """ls -l of many that are cold."""
    for kind in KINDS:
        if kind in ("flat.vmdk", "split.vmdk"):
            continue  # their extents are objects of their own
        bucket = os.path.join(top, "root", kind.replace(".", "-"))
        os.mkdir(bucket)
        for i in range(MANY):
            os.link(os.path.join(store, "small", kind),
                    os.path.join(bucket, f"disk-{i:04d}.{kind}"))
        with Mount(top, "s3://" + os.path.basename(bucket), "ttl=3600",
                   "endpoint=" + server.url(), "addressing=path",
                   level="warning") as mount:
            server.reset()
            done = subprocess.run(["ls", "-l", mount.path("disks")],
                                  capture_output=True, text=True, check=False)
            lines = done.stdout.count(f" {24 * MIB} ")
            tap.same(lines, MANY, f"ls -l: {MANY} sizes of {kind}")
            most = MANY * LIST_MOST.get(kind, 1)
            gets = server.log(op="get")
            tap.ok(len(gets) <= most, f"{len(gets)} GETs, at most {most}",
                   "\n".join(e["range"] for e in gets[:10]))
            others = [e for e in server.log() if e["op"] != "get"]
            tap.ok(len(others) <= 2, "beyond the listing",
                   "\n".join(requests_of(server)[:10]))


def main():
    need_mounts()
    tap.need("qemu-img")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        store = make_library(top)
        with Server(os.path.join(top, "root")) as server:
            check_open(server, top, store)
            check_list(server, top, store)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
