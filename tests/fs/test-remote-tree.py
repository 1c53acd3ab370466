#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The tree over S3: keys that are no file names, what lookups cost, objects
that are replaced, what the server says in control/."""

import errno
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import remote  # noqa: E402
import tap  # noqa: E402
from remote import mounted  # noqa: E402

ODD = ["/lead.img", "//two.img", "a//b.img", "dir/x.img", "./dot.img",
       "../up.img", "per%cent.img", "per%25cent.img", "new\nline.img",
       "tab\t'\"<&>.img", "latin-\udce9.img", "both.img", "both.img/x.img",
       " ", "+.img", "long/" + "k" * 1015 + ".img",
       "deep" + "/d" * 508 + ".img", "q?x=y#z.img", "%00", "~.img", "dir/",
       "both.img/", "s/", "s//", "s//x", "t//"]
HIDDEN = [".vmiefs/tasks/t.json", ".vmiefs"]
# What other programs write to mark a directory.
MARKERS = ["empty/", "long/", "marked.img/"]


def read(path):
    """The bytes of a file, or the name of the error."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        return errno.errorcode[error.errno]


def walk(top):
    """Paths of all files, by folders, so that none gets too long."""
    for entry in os.scandir(top):
        if entry.is_dir():
            yield from walk(entry.path)
        else:
            yield entry.path


def check_odd_keys(server, top):
    """Each key is one file with its bytes, and looked up cold, too."""
    os.mkdir(f"{top}/store/odd")
    server.objects("odd", *({"key": key, "text": key}
                            for key in ODD + HIDDEN),
                   *({"key": key, "size": 0} for key in MARKERS))
    with mounted(server, top, "s3://odd") as where:
        paths = list(walk(f"{where}/objects"))
        keys = [os.getxattr(path, "user.vmiefs.container").decode(
            "utf-8", "surrogateescape") for path in paths]
        tap.same(sorted(keys), sorted(ODD), "each key is a file")
        wrong = [key for key, path in zip(keys, paths) if read(path) !=
                 key.encode("utf-8", "surrogateescape")]
        tap.same(wrong, [], "with its own bytes")
        paths = [os.path.relpath(path, where) for path in paths]
    with mounted(server, top, "s3://odd", "ttl=0") as where:
        wrong = [key for key, path in zip(keys, paths)
                 if read(f"{where}/{path}") !=
                 key.encode("utf-8", "surrogateescape")]
        tap.same(wrong, [], "and is found without a listing")
        tap.same([name for name in (".vmiefs", ".vmiefs/tasks", ".vmiefs%")
                  if os.path.exists(f"{where}/objects/{name}")], [],
                 "the state stays hidden")
        tap.same([key for key in MARKERS
                  if not os.path.isdir(f"{where}/objects/{key}") or
                  os.path.exists(f"{where}/objects/{key}%00")], [],
                 "an empty object with a slash behind is a directory only")
        for name, key in (("s/%00%", b"s/"), ("s/%00/%00", b"s//"),
                          ("t/%00/%00", b"t//"), ("dir/%00", b"dir/")):
            tap.same(read(f"{where}/objects/{name}"), key,
                     f"one with bytes is {name}")


def make_disks(top):
    """bucket/vms: two versions of a disk, raw and packed."""
    folder = f"{top}/store/bucket/vms"
    os.makedirs(folder)
    for version in "12":
        with open(f"{top}/v{version}.img", "wb") as file:
            for _ in range(64):
                file.write(os.urandom(65536))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk",
                        "-o", "subformat=streamOptimized",
                        f"{top}/v{version}.img", f"{top}/v{version}.vmdk"],
                       check=True)
    for name in ("d.img", "d.vmdk", "e.img", "e.vmdk"):
        put(top, 1, name)


def put(top, version, name):
    """Replace an object of bucket/vms by another version of the disk."""
    data = read(f"{top}/v{version}.{name.split('.')[1]}")
    with open(f"{top}/new", "wb") as file:
        file.write(data)
    os.rename(f"{top}/new", f"{top}/store/bucket/vms/{name}")


def check_costs(server, top):
    """Requests for looking up one name."""
    with mounted(server, top, "s3://bucket") as where:
        server.reset()
        os.stat(f"{where}/disks/vms")
        tap.same(len(server.log()), 1, "a prefix costs one request")
        server.reset()
        os.stat(f"{where}/objects/vms/d.img")
        tap.same([e["op"] for e in server.log()], ["list", "list", "head"],
                 "an object two, behind the one for its prefix")
        server.reset()
        tap.ok(not os.path.exists(f"{where}/objects/vms/none"), "no object")
        tap.ok(len(server.log()) <= 2, "costs no more than two",
               server.log())
        server.reset()
        os.stat(f"{where}/disks/vms/d.vmdk.raw")
        ops = [e["op"] for e in server.log()]
        tap.ok(ops.count("list") + ops.count("head") <= 3 and
               ops.count("get") <= 2, "a container needs few", ops)
    with mounted(server, top, "s3://", "ttl=60") as where:
        server.reset()
        for _ in range(10):
            for name in ("bucket", "odd", "none"):
                os.path.exists(f"{where}/disks/{name}")
        tap.same([e["op"] for e in server.log()], ["list-buckets"],
                 "buckets are listed once")


def disk_bytes(top, version):
    """What a disk file must read as."""
    return read(f"{top}/v{version}.img")


def check_changes(server, top):
    """A long ttl= and objects that are replaced within it."""
    with mounted(server, top, "s3://bucket", "ttl=300") as where:
        disks = f"{where}/disks/vms"
        # The listing is the same, but nothing is opened ahead.
        os.listdir(f"{where}/objects/vms")
        for name in ("e.vmdk", "e.img"):
            put(top, 2, name)
        tap.ok(read(f"{disks}/e.vmdk.raw") == disk_bytes(top, 2),
               "a container that was replaced since it was listed is new")
        first = read(f"{disks}/e.img")
        tap.ok(first in (disk_bytes(top, 2), "ESTALE"),
               "a raw object is new, or stale once")
        tap.ok(read(f"{disks}/e.img") == disk_bytes(top, 2), "and then new")
        for name in ("d.img", "d.vmdk.raw"):
            check_pinned(top, disks, name)


def check_pinned(top, disks, name):
    """An open file sees one version only, and the next open the other."""
    old, new = disk_bytes(top, 1), disk_bytes(top, 2)
    with open(f"{disks}/{name}", "rb", buffering=0) as file:
        file.read(4096)
        put(top, 2, name.removesuffix(".raw"))
        seen = set()
        for at in range(0, len(old), 1 << 20):
            try:
                data = os.pread(file.fileno(), 65536, at)
                seen.add("old" if data == old[at:at + 65536] else "wrong")
            except OSError as error:
                seen.add(errno.errorcode[error.errno])
    tap.ok(seen in ({"ESTALE"}, {"ESTALE", "old"}),
           f"{name}: an open file is stale", seen)
    tap.ok(read(f"{disks}/{name}") == new, f"{name}: the next one is new")


def check_control(server, top):
    """What the server did and said."""
    deny = {"do": "reply", "op": "get", "key": "vms/e.vmdk", "status": 403,
            "code": "AccessDenied", "count": None}
    busy = {"do": "reply", "op": "get", "key": "vms/d.img", "status": 503,
            "code": "SlowDown", "count": 1}
    with mounted(server, top, "s3://bucket") as where:
        server.rules(deny, busy)
        path = f"{where}/disks/vms/e.vmdk.raw"
        try:
            os.stat(path)
            said = "nothing"
        except OSError as error:
            said = errno.errorcode[error.errno]
        tap.same(said, "EACCES", "what is forbidden fails stat")
        tap.same(read(path), "EACCES", "and open")
        tap.ok(read(f"{where}/disks/vms/d.img") == disk_bytes(top, 2),
               "a busy server is asked again")
        server.rules({**deny, "key": "vms/e.img"})
        tap.same(read(f"{where}/disks/vms/e.img"), "EACCES",
                 "so fails a read")
        server.rules()
        with open(f"{where}/control/errors", encoding="utf-8") as file:
            lines = [json.loads(text) for text in file]
        line, late = lines[0], lines[-1]
        tap.same([late.get(name) for name in ("operation", "status", "code",
                                              "attempts")],
                 ["read", 403, "AccessDenied", 1],
                 "a read's line has the server's answer")
        tap.ok(late.get("request_id"), "and its id", late)
        tap.same([line.get(name) for name in ("operation", "kind", "errno",
                                              "status", "code", "attempts")],
                 ["lookup", "denied", errno.EACCES, 403, "AccessDenied", 1],
                 "control/errors has the server's answer")
        tap.ok(line.get("request_id"), "and its id", line)
        with open(f"{where}/control/stats", encoding="utf-8") as file:
            stats = json.load(file)["store"]
        tap.same(stats["calls"]["read"]["retries"], 1,
                 "control/stats has the retry")
        tap.ok(stats["requests"] >= 3 and stats["connections"] >= 1 and
               stats["bytes_in"] > len(disk_bytes(top, 2)),
               "requests, connections and bytes", stats)


def main():
    remote.need_fuse()
    tap.need("qemu-img")
    with remote.scratch() as (top, server):
        check_odd_keys(server, top)
        make_disks(top)
        check_costs(server, top)
        check_changes(server, top)
        check_control(server, top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
