#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""100,000 keys in one prefix: each page is asked for once, within a bound of
memory; a page that fails is asked for again, alone."""

import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts  # noqa: E402

KEYS = 100000
MEMORY = 128  # MiB; as much as a directory may take (fs/test-many-keys.sh)


def check_many(server, top):
    """One listing of all."""
    server.objects("many", *({"pattern": f"p/disk-%06d.{kind}",
                              "count": KEYS // 2, "size": 512}
                             for kind in ("img", "txt")))
    with Mount(top, "s3://many", "endpoint=" + server.url(), "memory=64M",
               "addressing=path", "ttl=3600", level="warning") as mount:
        server.reset()
        names = os.listdir(mount.path("objects/p"))
        tap.same(len(names), KEYS, "objects/ has all keys")
        tap.same(len(os.listdir(mount.path("disks/p"))), KEYS // 2,
                 "disks/ has the disks")
        tap.same(sorted(names)[-1], f"disk-{KEYS // 2 - 1:06d}.txt",
                 "up to the last one")
        pages = [e["query"] for e in server.log(op="list")
                 if "delimiter" in e["query"]]
        tap.same(len(pages), KEYS // 1000, "a request for each page")
        tap.same(len(set(pages)), len(pages), "none of them twice")
        tap.same(len(server.log(op="head")), 0, "and none for a key")
        with open(mount.path("disks/p/disk-049999.img"), "rb") as disk:
            tap.same(disk.read(), bytes(512), "what was listed reads")
        tap.same(len(server.log(op="head")), 0, "without another question")
        mount.check_memory(MEMORY)
        print(f"# {len(server.log())} requests")


def check_broken_page(server, top):
    """One page fails twice, one is cut off, one has a huge document."""
    server.objects("broken", {"pattern": "disk-%05d.img", "count": 5000})
    with Mount(top, "s3://broken", "endpoint=" + server.url(), "ttl=3600",
               "addressing=path") as mount:
        server.reset()
        server.rules(
            {"op": "list", "do": "reply", "status": 503, "nth": 2, "count": 2},
            {"op": "list", "do": "cut", "at": 5000, "nth": 2})
        tap.same(len(os.listdir(mount.path("objects"))), 5000,
                 "listed in spite of 503 and a cut answer")
        good = [e["query"] for e in server.log(op="list", status=200)
                if e["bytes"] > 5000]
        tap.same(len(good), 5, "whole pages came once each")
        tap.same(len(server.log(op="list")), 8, "others were tried again")


def check_bad_documents(server, top):
    """Listings that make no sense fail with a sentence, and pass."""
    server.objects("bad", {"key": "a.img", "text": "data"})
    for what, rule in (
            ("a page", {"body": "<html>It works!</html>"}),
            ("a huge document", {"body": "<a>", "repeat": 20000000}),
            ("deep nesting", {"body": "<a>", "repeat": 100000}),
            ("entities", {"body": '<!DOCTYPE a [<!ENTITY b "bbbb">'
                                  '<!ENTITY c "&b;&b;&b;&b;">]>'
                                  "<ListBucketResult>&c;</ListBucketResult>"}),
            ("nothing", {"body": ""})):
        with Mount(top, "s3://bad", "endpoint=" + server.url(), "ttl=0",
                   "addressing=path", "store-timeout=5") as mount:
            server.rules({"op": "list", "do": "reply", "status": 200,
                          "count": None, **rule})
            try:
                got = f"listed: {os.listdir(mount.path('objects'))}"
            except OSError as error:
                got = "failed" if error.errno else str(error)
            tap.same(got, "failed", f"{what} for a listing")
            mount.check_memory(384)
            server.rules()
            tap.same(os.listdir(mount.path("objects")), ["a.img"],
                     "and later it works")


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        os.mkdir(os.path.join(top, "root"))
        with Server(os.path.join(top, "root")) as server:
            check_many(server, top)
            check_broken_page(server, top)
            check_bad_documents(server, top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
