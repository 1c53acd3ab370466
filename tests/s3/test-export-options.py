#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What the options say of new objects (sse, storage-class, acl, content-type,
tags, metadata), through a mount: in which requests it arrives, for files of one
request, of parts, and for what the server copies; and how many requests that
takes."""

import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts, run  # noqa: E402

MIB = 1 << 20
SMALL = random.Random(1).randbytes(MIB)
LARGE = random.Random(2).randbytes(20 * MIB)
# Of the option and its header.
PLACED = {"sse=s3": ("x-amz-server-side-encryption", "AES256"),
          "storage-class=STANDARD_IA": ("x-amz-storage-class", "STANDARD_IA"),
          "acl=bucket-owner-full-control": ("x-amz-acl",
                                            "bucket-owner-full-control")}
DESCRIBED = {"content-type=application/x-disk": ("content-type",
                                                 "application/x-disk"),
             "tags=a=1&b=%20": ("x-amz-tagging", "a=1&b=%20")}
ALL = {**PLACED, **DESCRIBED}
# What makes an object: the others of an upload have nothing of it.
MAKING = ("put", "create-upload", "copy")
KMS = "arn:aws:kms:x:1:key/2"


def write(path, data):
    """A new file."""
    with open(path, "wb", 0) as file:
        for at in range(0, len(data), MIB):
            file.write(data[at:at + MIB])


class Place:
    """A server with one bucket."""

    def __init__(self, top):
        self.top = top
        os.makedirs(os.path.join(top, "root/one"))
        self.server = Server(os.path.join(top, "root"))

    def mount(self, *options):
        """A mount of the bucket."""
        return Mount(self.top, "s3://one", "endpoint=" + self.server.url(),
                     "addressing=path", f"scratch={self.top}", "delete",
                     *options)

    def headers(self, op, key, names):
        """Those that the one such request had, of these."""
        found = self.server.log(op=op, key=key)
        tap.same(len(found), 1, f"{key}: one {op}")
        return {name: found[0]["headers"].get(name) for name in names}

    def asked(self, key):
        """{op: how many} of a key."""
        found = {}
        for entry in self.server.log(key=key):
            found[entry["op"]] = found.get(entry["op"], 0) + 1
        return found


def known(fmt, packer, size):
    """The metadata of a disk."""
    found = {"format": fmt, "packer": packer, "disk-bytes": size}
    return {"x-amz-meta-vmiefs-" + name: value
            for name, value in found.items()}


def check_written(place):
    """One request, and parts; formats, and plain files."""
    want = {name: value for name, value in ALL.values()}
    with place.mount("metadata", *ALL) as mount:
        for op, data in ("put", SMALL), ("create-upload", LARGE):
            for name, key, facts in (
                    ("disks/{}.vmdk.raw", "{}.vmdk",
                     known("vmdk", True, None)),
                    ("disks/{}.vhd.raw", "{}.vhd", known("vhd", None, None)),
                    ("disks/{}.raw", "{}.raw", known("raw", None, None)),
                    ("objects/{}.txt", "{}.txt", known(None, None, None))):
                key = key.format(op)
                write(mount.path(name.format(op)), data)
                sent = place.headers(op, key, want)
                tap.same(sent, want, f"{key}: all options are sent")
                sent = place.headers(op, key, facts)
                sent = {n: True if v and n.endswith("packer") else v
                        for n, v in sent.items()}
                tap.same(sent, facts, f"{key}: what is known of it")
    others = [e for e in place.server.log(method="P*")
              if e["op"] not in MAKING]
    tap.ok(others and not any(set(want) - {"content-type"} & set(e["headers"])
                              or e["headers"].get("content-type") ==
                              want["content-type"] for e in others),
           "parts and their end have none of it")
    tap.same(place.server.log(signed="Signature*"), [],
             "every signature was right")


def check_size(place):
    """The size of a disk, where all of it is there before anything is sent."""
    write(os.path.join(place.top, "root/one/old.raw"), SMALL)
    place.server.reset()
    with place.mount("metadata", "overwrite") as mount:
        with open(mount.path("disks/old.raw"), "r+b", 0) as file:
            file.truncate(3 * MIB)
        facts = known("raw", None, str(3 * MIB))
        tap.same(place.headers("put", "old.raw", facts), facts,
                 "its size is known, too")
        tap.same(os.path.getsize(mount.path("disks/old.raw")), 3 * MIB,
                 "and is right")


def check_copied(place):
    """By the server: where it lies is told anew, what it is it has from its
    source."""
    placed = {name: value for name, value in PLACED.values()}
    described = {name: None for name, _ in DESCRIBED.values()}
    place.server.reset()
    with place.mount("metadata", *ALL) as mount:
        os.rename(mount.path("disks/put.vmdk.raw"),
                  mount.path("disks/renamed.vmdk.raw"))
        source = os.open(mount.path("objects/create-upload.vhd"), os.O_RDONLY)
        target = os.open(mount.path("objects/copied.vhd"),
                         os.O_CREAT | os.O_WRONLY)
        while os.copy_file_range(source, target, 1 << 30):
            pass
        os.close(target)
        os.close(source)
        for key in "renamed.vmdk", "copied.vhd":
            making = [e for e in place.server.log(key=key)
                      if e["op"] in MAKING]
            tap.same([e["op"] for e in making], ["copy"], f"{key}: one copy")
            sent = making[0]["headers"]
            tap.same({n: sent.get(n) for n in placed}, placed,
                     f"{key}: where it lies is told")
            tap.same({n: sent.get(n) for n in described}, described,
                     f"{key}: what it is is not")
        counts = place.server.counts()
        tap.ok(not counts.get("put") and not counts.get("upload-part"),
               "no bytes were sent", str(counts))


def check_kms(place):
    """Keys of KMS; ETags are no MD5s then."""
    place.server.reset()
    with place.mount("sse=kms", "sse-kms-key=" + KMS) as mount:
        for op, data in ("put", SMALL), ("create-upload", LARGE):
            write(mount.path(f"disks/kms-{op}.raw"), data)
            want = {"x-amz-server-side-encryption": "aws:kms",
                    "x-amz-server-side-encryption-aws-kms-key-id": KMS}
            tap.same(place.headers(op, f"kms-{op}.raw", want), want,
                     f"kms, {op}")
            with open(mount.path(f"disks/kms-{op}.raw"), "rb") as file:
                tap.ok(file.read() == data, f"kms, {op}: its bytes")


def check_refused(place):
    """What makes no sense is told when mounting; what the server does not
    have, when the file is closed."""
    where = os.path.join(place.top, "nowhere")
    os.mkdir(where)
    for options, part in (("sse=c", "SSE-C"), ("sse-c-key=x", "SSE-C"),
                          ("sse-customer-key=x", ""),
                          ("sse=s3,sse-kms-key=k", "sse=kms"),
                          ("tags=a b", "a=1&b=2"), ("acl=a b", "letters"),
                          ("content-type=\u00fc", "ASCII")):
        status, said, _ = run("vmiefs", "s3://one", where, "-o",
                              f"endpoint={place.server.url()}", "-o", options)
        tap.ok(status != 0 and part in said and not os.path.ismount(where),
               f"not mounted with {options}", said)
    with place.mount("storage-class=NOPE") as mount:
        try:
            write(mount.path("disks/nope.raw"), SMALL)
            failed = False
        except OSError:
            failed = True
        tap.ok(failed, "a class that the server does not have")
        tap.ok("(x-amz-storage-class: NOPE)" in mount.text("control/errors"),
               "control/errors names the option",
               mount.text("control/errors"))


# What each is for: is the name free, when it is opened; is it still, right
# before it appears, as servers ignore If-None-Match; what the server has, of
# which time.
REQUESTS = {"head": 3}


def check_counts(place):
    """Requests for a new file in a folder that was listed."""
    place.server.reset()
    with place.mount("ttl=600") as mount:
        for name, data, more in (
                ("small.raw", SMALL, {"put": 1}),
                ("large.raw", LARGE, {"create-upload": 1, "upload-part": 3,
                                      "complete-upload": 1})):
            # Without it the kernel's lookup would ask, too.
            os.listdir(mount.path("disks"))
            write(mount.path("disks/" + name), data)
            tap.same(place.asked(name), {**REQUESTS, **more},
                     f"{name}: its requests")


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        place = Place(top)
        with place.server:
            check_written(place)
            check_size(place)
            check_copied(place)
            check_kms(place)
            check_refused(place)
            check_counts(place)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
