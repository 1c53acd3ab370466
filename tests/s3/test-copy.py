#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Objects made of others in S3, renamed and removed, over the scripted server:
what the server copies, and what comes of each fault. Whatever happens, the
object is whole or absent, the answer says which, and no upload is left."""

import hashlib
import os
import random
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from cat import Cat  # noqa: E402
from client import Client  # noqa: E402
from control import Server  # noqa: E402

MIB = 1 << 20
A = random.Random(1).randbytes(12 * MIB)
B = random.Random(2).randbytes(12 * MIB)
SMALL = random.Random(3).randbytes(1 * MIB)
OBJECTS = {"a": A, "d/b ü+&": B, "small": SMALL}
WHOLE_A, WHOLE_B = f"a:0:{len(A)}", f"d/b ü+&:0:{len(B)}"
# Two gaps, each of which borrows from the objects beside it.
MIXED = ("=head", WHOLE_A, "=middle", WHOLE_B, "=tail")
MIXED_BYTES = b"head" + A + b"middle" + B + b"tail"
PAIR, PAIR_BYTES = (WHOLE_A, WHOLE_B), A + B
EVER = {"count": None}
OTHER = '"' + "0" * 32 + '"'
IGNORED = {"do": "conditions", "as": "ignored", **EVER}
UNKNOWN = {"do": "conditions", "as": "unsupported", **EVER}


def reply(status, code, op, **more):
    """A rule that answers with an error."""
    return {"do": "reply", "status": status, "code": code, "op": op, **more}


def lost(op, **more):
    """A rule that does what is asked for and loses the answer."""
    return {"do": "reset", "at": "request", "op": op, **more}


def replaced(nth):
    """A rule by which HEAD finds another object a, from that time on."""
    return {"do": "headers", "op": "head", "key": "a", "nth": nth,
            "set": {"ETag": OTHER}, **EVER}


# What is common to an object of parts: a name, rules, and what comes of it:
# "whole", or the kind of the error and a part of its text.
PARTS = (
    ("nothing", [], "whole"),
    ("the target is looked at late",
     [reply(503, "", "head", count=3)], "whole"),
    ("looking is refused", [reply(403, "", "head", key="new*", **EVER),
                            reply(403, "AccessDenied", "get", key="new*",
                                  **EVER)],
     ("denied", "access is denied")),
    ("the beginning is busy",
     [reply(503, "SlowDown", "create-upload", count=3)], "whole"),
    ("the beginning is refused",
     [reply(403, "AccessDenied", "create-upload")],
     ("denied", "access is denied")),
    ("a copy is busy",
     [reply(503, "SlowDown", "upload-part-copy", count=4)], "whole"),
    ("a copy is refused",
     [reply(403, "AccessDenied", "upload-part-copy", nth=2)],
     ("denied", "access is denied")),
    ("a copy fails behind a 200",
     [reply(200, "AccessDenied", "upload-part-copy")],
     ("denied", "access is denied")),
    ("a copy fails for now behind a 200",
     [reply(200, "InternalError", "upload-part-copy", count=2)], "whole"),
    ("the answer to a copy is lost",
     [lost("upload-part-copy", count=2)], "whole"),
    ("the answer to a copy is no XML",
     [{"do": "reply", "op": "upload-part-copy", "status": 200,
       "body": "<html>welcome</html>", "count": 2}], "whole"),
    ("the answer to a copy is cut",
     [{"do": "cut", "at": 40, "op": "upload-part-copy", "count": 2}],
     "whole"),
    ("copies are not supported",
     [reply(501, "NotImplemented", "upload-part-copy", **EVER)],
     ("unsupported", "does not support this")),
    ("a source is deleted",
     [reply(404, "NoSuchKey", "upload-part-copy")],
     ("stale", ": was deleted while it was copied")),
    ("a source is replaced",
     [reply(412, "PreconditionFailed", "upload-part-copy", **EVER),
      replaced(1)],
     ("stale", "a: was replaced while it was copied")),
    ("the sources' ETags are misjudged",
     [reply(412, "PreconditionFailed", "upload-part-copy")], "whole"),
    ("a source becomes shorter",
     [reply(416, "InvalidRange", "upload-part-copy")],
     ("stale", ": was replaced while it was copied")),
    ("a source is replaced at the end", [replaced(1)],
     ("stale", "a: was replaced while it was copied")),
    ("a source is deleted at the end",
     [reply(404, "", "head", key="d/*", **EVER)],
     ("stale", "d/b ü+&: was deleted while it was copied")),
    ("completing is busy",
     [reply(503, "SlowDown", "complete-upload", count=3)], "whole"),
    ("completing is refused",
     [reply(403, "AccessDenied", "complete-upload")],
     ("denied", "access is denied")),
    ("completing fails behind a 200",
     [reply(200, "AccessDenied", "complete-upload")],
     ("denied", "access is denied")),
    ("the answer to completing is lost", [lost("complete-upload")], "whole"),
    ("somebody ends the upload",
     [reply(404, "NoSuchUpload", "upload-part-copy", **EVER)],
     ("io", "somebody has ended the upload")),
    ("conditions mean nothing", [IGNORED], "whole"),
    ("conditions are unknown", [UNKNOWN], "whole"),
    ("aborting is busy",
     [reply(403, "AccessDenied", "upload-part-copy"),
      reply(503, "SlowDown", "abort-upload", count=3)],
     ("denied", "access is denied")),
)

# What there is besides where bytes are fetched and sent.
FETCHED = (
    ("nothing", [], "whole"),
    ("a source is replaced at the end", [replaced(1)],
     ("stale", "a: was replaced while it was copied")),
    ("a fetch is busy", [reply(503, "SlowDown", "get", count=3)], "whole"),
    ("a fetch is cut",
     [{"do": "cut", "at": 100000, "op": "get", "count": 3}], "whole"),
    ("a fetch is refused", [reply(403, "AccessDenied", "get", **EVER)],
     ("denied", "access is denied")),
    ("a fetch finds another object",
     [reply(412, "PreconditionFailed", "get")],
     ("stale", ": was replaced")),
    ("a part is busy",
     [reply(503, "SlowDown", "upload-part", count=3)], "whole"),
    ("a part is refused",
     [reply(403, "AccessDenied", "upload-part")],
     ("denied", "access is denied")),
    ("a part is lost", [lost("upload-part", count=2)], "whole"),
    ("a part breaks off",
     [{"do": "reset", "at": "body", "after": MIB, "op": "upload-part",
       "count": 2}], "whole"),
)

# One object as a whole.
COPIED = (
    ("nothing", [], "whole"),
    ("it is busy", [reply(503, "SlowDown", "copy", count=3)], "whole"),
    ("it is refused", [reply(403, "AccessDenied", "copy")],
     ("denied", "access is denied")),
    ("it fails behind a 200", [reply(200, "AccessDenied", "copy")],
     ("denied", "access is denied")),
    ("it fails for now behind a 200",
     [reply(200, "InternalError", "copy", count=2)], "whole"),
    ("its answer is lost", [lost("copy")], "whole"),
    ("its answers are lost", [lost("copy", count=2)], "whole"),
    ("its answer is cut", [{"do": "cut", "at": 40, "op": "copy"}], "whole"),
    ("its answer has no text",
     [{"do": "reply", "status": 200, "body": "", "op": "copy",
       "work": True}], "whole"),
    ("the source is replaced", [reply(412, "PreconditionFailed", "copy",
                                      **EVER), replaced(2)],
     ("stale", "a: was replaced while it was copied")),
    ("the source is deleted", [reply(404, "NoSuchKey", "copy", **EVER),
                               reply(404, "", "head", key="a", nth=2,
                                     **EVER)],
     ("stale", "a: was deleted while it was copied")),
    ("it was replaced before", [replaced(1)],
     ("stale", "a: was replaced while it was copied")),
    ("it is replaced, and nobody cares", [IGNORED, replaced(2)],
     ("stale", "a: was replaced while it was copied")),
    ("the source's ETag is misjudged",
     [reply(412, "PreconditionFailed", "copy", count=2)], "whole"),
    ("conditions mean nothing", [IGNORED], "whole"),
    ("conditions are unknown", [UNKNOWN], "whole"),
)


class Tests:
    """One server for all."""

    def __init__(self, scratch):
        self.root = os.path.join(scratch, "root")
        os.makedirs(os.path.join(self.root, "vms"))
        self.server = Server(self.root, scratch=scratch)
        for key, data in OBJECTS.items():
            Client(self.server).put(f"/vms/{key}", data)
        self.count = 0

    def path(self, key):
        """Where an object is."""
        return os.path.join(self.root, "vms", key)

    def stored(self, key):
        """The MD5 of an object; None: there is none."""
        try:
            with open(self.path(key), "rb") as file:
                return hashlib.md5(file.read()).hexdigest()
        except FileNotFoundError:
            return None

    def cat(self, *options, source="s3://vms"):
        """A storecat on the server."""
        return Cat(source, f"endpoint={self.server.url()}", *options)

    def no_upload_left(self):
        """They are aborted behind the answer."""
        end = time.monotonic() + 20
        while self.server.uploads() and time.monotonic() < end:
            time.sleep(0.05)
        tap.same(self.server.uploads(), [], "no upload is left")

    def run(self, what, pieces, data, case):
        """One case: its outcome, and what is there then."""
        name, rules, want = case
        key = f"new-{self.count}"
        self.count += 1
        self.server.reset()
        with self.cat("timeout=20000") as cat:
            for piece in pieces:
                if piece[0] != "=":
                    cat.ask("pin", piece.split(":")[0])
            self.server.rules(*rules)
            answer = cat.ask("compose", key, "new", *pieces)
        self.server.rules()
        if want == "whole":
            tap.ok(answer.ok and
                   self.stored(key) == hashlib.md5(data).hexdigest(),
                   f"{what}: {name}: it is stored", f"{answer}")
        else:
            tap.ok(not answer.ok and answer.kind == want[0] and
                   want[1] in answer.text and self.stored(key) is None,
                   f"{what}: {name}: it is not, and that is said",
                   f"{answer}")
        self.no_upload_left()

    def check_cases(self):
        """The tables."""
        for case in PARTS:
            self.run("copied parts", PAIR, PAIR_BYTES, case)
        for case in FETCHED:
            self.run("parts of both kinds", MIXED, MIXED_BYTES, case)
        for case in COPIED:
            self.run("a copy", (WHOLE_A,), A, case)

    def requests(self):
        """{op: how many}."""
        return {op: c["requests"] for op, c in self.server.counts().items()}

    def check_requests(self):
        """Which requests it takes, and how many bytes come here."""
        with self.cat() as cat:
            self.server.reset()
            answer = cat.ask("compose", "counted", "new", *MIXED)
            want = {"head": 7, "create-upload": 1, "get": 3, "upload-part": 3,
                    "upload-part-copy": 2, "complete-upload": 1}
            tap.ok(answer.ok, "an archive of two", f"{answer}")
            tap.same(self.requests(), want, "takes these requests")
            tap.same(sum(e["received"] > 4 * MIB for e in
                         self.server.log(op="upload-part")), 2,
                     "two of its parts bring what gaps have borrowed")
            stats = cat.ask("stats").text
            tap.ok('"bytes_copied": ' in stats and '"bytes_sent": ' in stats,
                   "which is counted", stats)
            self.server.reset()
            tap.ok(cat.ask("compose", "c", "new", WHOLE_A).ok, "one object")
            tap.same(self.requests(), {"head": 6, "copy": 1},
                     "takes one request, and looks")
            self.server.reset()
            tap.ok(cat.ask("compose", "c2", "new", "=x", f"small:5:{MIB - 5}",
                           "0x10").ok, "a small object")
            tap.same(self.requests(), {"head": 4, "get": 1, "put": 1},
                     "is put")
            tap.same(self.stored("c2"), hashlib.md5(
                b"x" + SMALL[5:] + bytes(10)).hexdigest(), "its bytes")
            tap.ok(cat.ask("compose", "empty", "new").ok and
                   os.path.getsize(self.path("empty")) == 0, "no bytes")
        tap.same(self.server.log(signed="Signature*"), [],
                 "every signature was right")

    def check_stop(self):
        """Whoever gives up hears of it soon, whatever the server does."""
        stalls = (("upload-part-copy", PAIR), ("upload-part", MIXED),
                  ("create-upload", PAIR), ("copy", (WHOLE_A,)))
        for op, pieces in stalls:
            self.server.reset()
            self.server.rules({"do": "stall", "at": "read", "op": op, **EVER})
            with self.cat("stop=300") as cat:
                answer = cat.ask("compose", "stopped", "new", *pieces)
            tap.same(answer.kind, "cancelled", f"{op} hangs, and is given up")
            self.server.rules()
            self.no_upload_left()
            tap.same(self.stored("stopped"), None, "nothing is there")

    def check_metadata(self):
        """A copy is like its source, by one request or in parts."""
        client = Client(self.server)
        want = {"content-type": "application/x-disk", "cache-control":
                "no-store", "x-amz-meta-a": "1", "x-amz-meta-b": "two words"}
        with self.cat("content-type=text/plain") as cat:
            for size in len(A), MIB, 0:
                client.put("/vms/described", A[:size], want)
                cat.ask("pin", "described")
                for how in ("new", "any"):
                    answer = cat.ask("compose", f"like-{size}", how,
                                     f"described:0:{size}")
                    tap.ok(answer.ok, f"{size} bytes copied as {how}",
                           f"{answer}")
                    headers = client.get(f"/vms/like-{size}", "", "HEAD")[1]
                    tap.same({name: headers[name] for name in want}, want,
                             "they are like their source")
                    tap.same(self.stored(f"like-{size}"),
                             hashlib.md5(A[:size]).hexdigest(), "its bytes")
            client.put("/vms/described", b"", {**want, "x-amz-meta-a": "2"})
            cat.ask("pin", "described")
            client.put("/vms/described", b"x", want)
            answer = cat.ask("compose", "late", "new", "described:0:0")
            tap.same((answer.kind, self.stored("late")), ("stale", None),
                     "an empty object that was replaced")
            client.put("/vms/described", A, want)
            cat.ask("pin", "described")
            cat.ask("compose", "not-it", "new", f"described:1:{len(A) - 1}")
            headers = client.get("/vms/not-it", "", "HEAD")[1]
            tap.same((headers["content-type"], headers["x-amz-meta-a"]),
                     ("text/plain", None), "a part of it is something else")

    def check_replacing(self):
        """New, any, and the one that is known, in each kind of server."""
        for rule in ([], [IGNORED], [UNKNOWN]):
            for pieces in (PAIR, (WHOLE_A,)):
                self.server.reset()
                self.server.rules(*rule)
                self.replace(pieces)
                self.no_upload_left()

    def replace(self, pieces):
        """What may be replaced by what."""
        key = f"r-{self.count}"
        self.count += 1
        with self.cat() as cat:
            tap.ok(cat.ask("compose", key, "new", "=old").ok, f"{key}: new")
            etag = cat.ask("stat", key).text.split()[1]
            tap.same(cat.ask("compose", key, "new", *pieces).kind, "exists",
                     "not new any more")
            tap.same(cat.ask("compose", key, "0" * 32, *pieces).kind, "stale",
                     "it is not another one")
            answer = cat.ask("compose", key, etag, *pieces)
            tap.ok(answer.ok, "it is itself", f"{answer}")
            tap.same(cat.ask("compose", key, etag, *pieces).kind, "stale",
                     "and another one then")
            tap.ok(cat.ask("compose", key, "any", *pieces).ok, "any will do")
            data = PAIR_BYTES if len(pieces) == 2 else A
            tap.same(self.stored(key), hashlib.md5(data).hexdigest(),
                     "its bytes")

    def check_removing(self):
        """DELETE, of what is there and what was seen."""
        with self.cat("timeout=20000") as cat:
            tap.same(cat.ask("remove", "none").kind, "not-found",
                     "what is not there")
            for rules in ([], [IGNORED], [UNKNOWN], [lost("delete")],
                          [reply(503, "SlowDown", "delete", count=2)]):
                self.server.rules()
                cat.ask("compose", "gone", "any", "=x")
                etag = cat.ask("stat", "gone").text.split()[1]
                self.server.rules(*rules)
                tap.same(cat.ask("remove", "gone", "0" * 32).kind, "stale",
                         "another one is not removed")
                answer = cat.ask("remove", "gone", etag)
                tap.ok(answer.ok and self.stored("gone") is None,
                       "it is removed", f"{answer}")
            self.server.rules(reply(403, "AccessDenied", "delete"))
            tap.same(cat.ask("remove", "small").kind, "denied", "refused")
        self.server.rules()
        tap.ok(self.stored("small"), "and it is still there")

    def check_renaming(self):
        """A copy, and the old one removed; or both, and that is said."""
        with self.cat("timeout=20000") as cat:
            for size in (1, len(A)):
                cat.ask("compose", "old", "any", f"a:0:{size}")
                md5 = self.stored("old")
                tap.ok(cat.ask("rename", "old", "x/new").ok, "renamed")
                tap.same((self.stored("old"), self.stored("x/new")),
                         (None, md5), "it is there, not here")
                cat.ask("compose", "old", "any", "=y")
                tap.same(cat.ask("rename", "x/new", "old").kind, "exists",
                         "not over another")
                tap.ok(cat.ask("rename", "x/new", "old", "any").ok,
                       "but if it may")
                tap.same((self.stored("old"), self.stored("x/new")),
                         (md5, None), "it is here again")
            tap.ok(cat.ask("rename", "old", "old").ok and self.stored("old"),
                   "to its own name")
            tap.same(cat.ask("rename", "none", "n").kind, "not-found",
                     "what is not there")
            self.server.rules(reply(403, "AccessDenied", "delete"))
            answer = cat.ask("rename", "old", "two")
            tap.ok(answer.kind == "denied" and "was copied to 'two', but "
                   "'old' could not be removed, so that both exist" in
                   answer.text and self.stored("two") == self.stored("old"),
                   "both exist", f"{answer}")
            self.server.rules(
                {"do": "headers", "op": "head", "key": "old", "nth": 4,
                 "set": {"ETag": OTHER}, **EVER})
            answer = cat.ask("rename", "old", "three")
            tap.ok(answer.kind == "stale" and self.stored("old") and
                   not answer.ok, "it was changed meanwhile", f"{answer}")
        self.server.rules()
        self.no_upload_left()

    def check_prefixes(self):
        """Directories that no key makes."""
        self.server.objects("vms", {"key": "tool/", "size": 0},
                            {"key": "tool/sub/", "size": 0},
                            {"key": "full/x", "size": 1})
        with self.cat() as cat:
            def names(prefix):
                return sorted(line.split()[0] for line in
                              cat.ask("list", prefix).lines)

            self.server.reset()
            tap.ok(cat.ask("mkdir", "m").ok, "made")
            tap.ok("m/" in names("") and cat.ask("has", "m/").text == "yes",
                   "it is listed")
            tap.same(cat.ask("mkdir", "m").kind, "exists", "only once")
            tap.same(cat.ask("mkdir", "full").kind, "exists",
                     "what keys make is there")
            tap.same(cat.ask("mkdir", "tool").kind, "exists",
                     "and what other tools make")
            tap.ok(cat.ask("mkdir", "m/n").ok, "one in it")
            tap.same(names("m/"), ["m/n/"], "is listed there")
            tap.same(self.requests().get("put"), None, "nothing is stored")
            tap.ok("not empty" in cat.ask("rmdir", "m").text, "not empty")
            tap.ok(cat.ask("rmdir", "m/n").ok and cat.ask("rmdir", "m").ok,
                   "removed")
            tap.same(cat.ask("rmdir", "m").kind, "not-found", "only once")
            tap.same(cat.ask("has", "m/").text, "no", "gone")
            cat.ask("mkdir", "k")
            cat.ask("compose", "k/x", "new", "=x")
            tap.same(names("").count("k/"), 1, "a key makes it real")
            tap.ok("not empty" in cat.ask("rmdir", "k").text, "it has a key")
            tap.ok(cat.ask("remove", "k/x").ok and names("").count("k/") == 1,
                   "without its last key it stays, as rm -r wants it")
            tap.ok(cat.ask("rmdir", "k").ok and "k/" not in names(""),
                   "until it is removed")
            tap.ok("not empty" in cat.ask("rmdir", "tool").text,
                   "a marker has one below it")
            tap.ok(cat.ask("rmdir", "tool/sub").ok and
                   cat.ask("rmdir", "tool").ok, "markers are removed")
            tap.same(cat.ask("has", "tool/").text, "no", "gone, too")
            tap.ok("not empty" in cat.ask("rmdir", "full").text, "a key")
        with self.cat(source="s3://") as cat:
            tap.ok(not cat.ask("mkdir", "bucket").ok, "buckets are not made")

    def check_limit(self):
        """What no object can be is refused before anything is copied."""
        half = 5 << 39
        self.server.objects("vms", {"key": "huge", "size": half})
        with self.cat() as cat:
            self.server.reset()
            answer = cat.ask("compose", "sum", "new", f"huge:0:{half}",
                             f"huge:0:{half}", "=x")
            tap.ok(answer.kind == "limit" and str(5 << 40) in answer.text,
                   "more than S3 takes", f"{answer}")
            tap.same(self.requests().get("create-upload"), None,
                     "is not begun")


def main():
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as scratch:
        tests = Tests(scratch)
        with tests.server:
            tests.check_requests()
            tests.check_cases()
            tests.check_stop()
            tests.check_metadata()
            tests.check_replacing()
            tests.check_removing()
            tests.check_renaming()
            tests.check_prefixes()
            tests.check_limit()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
