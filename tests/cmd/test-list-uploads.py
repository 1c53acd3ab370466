#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""vmiefs uploads: what it lists, of a prefix, a bucket and a service; what it
aborts and what it leaves alone; and what it says when something is wrong."""

import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../s3"))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from client import Client, field  # noqa: E402
from control import Server  # noqa: E402
from mounted import run  # noqa: E402

HOUR = 3600


def begin(client, path, hours=0):
    """Begin an upload so many hours ago; its id."""
    client.server.clock(-hours * HOUR)
    text = client.get(path, "uploads=", "POST",
                      when=time.time() - hours * HOUR)[2]
    client.server.clock(0)
    return field(text, "UploadId")


def uploads(server, source, *words):
    """(status, output) of the command."""
    return run("vmiefs", "uploads", source, f"--endpoint={server.url()}",
               *words)[:2]


def listed(server, source, *words):
    """The keys in its JSON, or what it said instead."""
    status, said = uploads(server, source, "--json", *words)
    try:
        rows = json.loads(said)["uploads"]
    except ValueError:
        return status, said
    return status, [row.get("bucket", "") + ":" + row["key"] for row in rows]


def check_text(server, names):
    """What people see."""
    status, said = uploads(server, "s3://one")
    lines = said.splitlines()
    tap.same((status, len(lines)), (0, 5), "a line each, and their sum")
    tap.ok(lines[0].startswith("a b\\x01: begun 20") and
           lines[0].endswith(f"Z, idle for 5 h, id {names['odd']}"),
           "one whose parts no XML can list", lines[0])
    tap.ok(" s, 5 MiB in 2 parts, id " in lines[1], "one with parts",
           lines[1])
    tap.ok(lines[3].startswith("vms/old: ") and
           "Z, idle for 5 h, 0 bytes in 0 parts, id " in lines[3],
           "one without", lines[3])
    tap.same(lines[-1], "4 uploads of parts, 5 MiB", "the sum")


def check_json(server, names):
    """What programs see."""
    status, said = uploads(server, "s3://one", "--json")
    answer = json.loads(said)
    tap.same((status, answer["count"], answer["size"], answer["aborted"]),
             (0, 4, 5 * (1 << 20) + 3, 0), "the numbers")
    row = answer["uploads"][1]
    tap.same((row["id"], row["parts"], row["size"]),
             (names["busy"], 2, 5 * (1 << 20) + 3), "an upload")
    tap.ok(row["idle_seconds"] < 600 and row["begun"].endswith("Z"),
           "its times", row)


def check_places(server):
    """A prefix, and a whole service."""
    tap.same(listed(server, "s3://one/vms"), (0, [":disk", ":old"]),
             "below a prefix, without it")
    tap.same(listed(server, "s3://one/v"), (0, []), "which is a folder's")
    tap.same(listed(server, "s3://"),
             (0, ["one:a b\x01", "one:busy", "one:vms/disk", "one:vms/old",
                  "two:x"]), "of all buckets")
    tap.same(listed(server, "s3://one", "--older-than=4h"),
             (0, [":a b\x01", ":vms/old"]), "older than")


def check_abort(server, names):
    """Only what is idle for so long goes."""
    status, said = uploads(server, "s3://one", "--abort")
    tap.ok(status == 2 and "needs --older-than=AGE" in said,
           "not without an age", said)
    tap.same(len(server.uploads()), 5, "and nothing is done")
    status, said = uploads(server, "s3://one/vms/", "--abort",
                           "--older-than=4h")
    tap.ok(status == 0 and said.endswith(", 1 aborted\n"), "one below a prefix",
           said)
    tap.same(sorted(u["key"] for u in server.uploads()),
             ["a b\x01", "busy", "vms/disk", "x"], "is gone")
    server.rules({"do": "reply", "op": "abort-upload", "status": 403,
                  "code": "AccessDenied", "count": None})
    status, said = uploads(server, "s3://one", "--abort", "--older-than=4h")
    tap.ok(status == 1 and "AccessDenied" in said and ", 0 aborted" in said,
           "what is denied is said", said)
    server.rules()
    status, said = uploads(server, "s3://", "--abort", "--older-than=1d",
                           "--json")
    answer = json.loads(said)
    tap.same((status, [(u["bucket"], u["aborted"])
                       for u in answer["uploads"]]), (0, [("two", True)]),
             "of all buckets")
    tap.ok(names["busy"] in [u["id"] for u in server.uploads()],
           "one that is old, but has a new part, is left alone")


def check_mistakes(server):
    """One sentence each."""
    for what, source, words, status, want in (
            ("a directory", "/tmp", [], 2, "only buckets have"),
            ("a URL", "https://host/x?sig=secret", [], 2,
             "https://host/x: only buckets have"),
            ("no such bucket", "s3://none", [], 1,
             "there is no bucket 'none'"),
            ("no age", "s3://one", ["--older-than=0"], 2,
             "must lie between 1s and"),
            ("no age at all", "s3://one", ["--older-than=soon"], 2,
             "such as 30, or 5m, 2h, 7d")):
        got, said = uploads(server, source, *words)
        tap.ok(got == status and want in said and "secret" not in said, what,
               f"{got}: {said}")
    server.rules({"do": "reply", "op": "list-parts", "status": 403,
                  "code": "AccessDenied", "count": None})
    status, said = uploads(server, "s3://one/vms")
    tap.ok(status == 0 and "disk: begun" in said and " in " not in said,
           "whoever may not list parts gets the rest", said)
    server.rules({"do": "reply", "op": "list-uploads", "status": 403,
                  "code": "AccessDenied", "count": None})
    status, said = uploads(server, "s3://one")
    tap.ok(status == 1 and "AccessDenied" in said, "whoever may list nothing",
           said)
    server.rules({"do": "reply", "op": "list-parts", "status": 404,
                  "code": "NoSuchUpload"})
    tap.same(listed(server, "s3://one/vms"), (0, []),
             "one that has just ended is left out")


def main():
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        root = os.path.join(top, "root")
        for bucket in ("one", "two"):
            os.makedirs(os.path.join(root, bucket))
        with Server(root) as server:
            client = Client(server)
            names = {"odd": begin(client, "/one/a b\x01", 5),
                     "busy": begin(client, "/one/busy", 50)}
            client.part("/one/busy", names["busy"], 1, bytes(5 << 20))
            client.part("/one/busy", names["busy"], 4, b"abc")
            begin(client, "/one/vms/disk")
            begin(client, "/one/vms/old", 5)
            begin(client, "/two/x", 100)
            check_text(server, names)
            check_json(server, names)
            check_places(server)
            check_abort(server, names)
            check_mistakes(server)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
