#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""info, map and check of objects in a bucket and of URLs: the same answers as
for files, members of an OVA, and what is said when something is wrong."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fs"))
# pylint: disable=wrong-import-position
import remote  # noqa: E402
import tap  # noqa: E402
from containers import convert, make_ova, make_raw  # noqa: E402
from remote import vmiefs  # noqa: E402

SIZE = 4 << 20


def check_same(server, top):
    """The map of an object is that of the file."""
    option = f"--endpoint={server.url()}"
    for name, member in (("vms/stream.vmdk", ""), ("app.ova", ""),
                         ("app.ova", "/stream.vmdk"),
                         ("app.ova", "/stream.vmdk.raw")):
        local = vmiefs("map", f"{top}/store/bucket/{name}{member}")
        there = vmiefs("map", f"s3://bucket/{name}{member}", option)
        tap.ok(local[0] == 0 and local[:2] == there[:2],
               f"map s3://bucket/{name}{member}", f"{local}\n{there}")
    status, said, _ = vmiefs("info", "--json", "s3://bucket/vms/stream.vmdk",
                             option)
    info = json.loads(said) if status == 0 else {}
    tap.same((info.get("object"), info.get("store")),
             ("vms/stream.vmdk", "s3://bucket"), "info names key and bucket")
    status, said, _ = vmiefs("check", "s3://bucket/vms/stream.vmdk", option)
    tap.ok(status == 0 and "clean" in said, "check", said)


def check_mistakes(server):
    """One sentence each."""
    option = f"--endpoint={server.url()}"
    for what, words, want in (
            ("no key", ["s3://bucket", option], "is no object; give"),
            ("no such key", ["s3://bucket/none.vmdk", option],
             "there is no such key"),
            ("no such bucket", ["s3://nobucket/a.vmdk", option],
             "there is no bucket 'nobucket'"),
            ("no such member", ["s3://bucket/app.ova/none.vmdk", option],
             "has no disk 'none.vmdk'"),
            ("-o of a mount", ["s3://bucket/a.vmdk", "-o",
                               f"endpoint={server.url()}"],
             "unknown option -o endpoint; did you mean --endpoint=URL?"),
            ("a query that may be a secret", ["http://host/a.vmdk?sig=x"],
             "info: http://host/a.vmdk: give a path"),
            ("a secret", ["s3://bucket/a.vmdk", "--secret-key=x"],
             "keys and passwords are no options")):
        status, said, _ = vmiefs("info", *words)
        tap.ok(status in (1, 2) and want in said, what, f"{status}: {said}")


def main():
    tap.need("qemu-img")
    with remote.scratch() as (top, server):
        os.makedirs(f"{top}/store/bucket/vms")
        make_raw(f"{top}/disk.img", SIZE)
        disk = convert(f"{top}/disk.img", f"{top}/store/bucket/vms",
                       "stream.vmdk")
        make_ova(f"{top}/store/bucket/app.ova", [disk], SIZE)
        check_same(server, top)
        check_mistakes(server)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
