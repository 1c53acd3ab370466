#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Objects written into S3, over the scripted server: which requests that
takes, and what comes of each fault. Whatever happens, the object is whole or
absent, the answer says which, and no upload is left."""

import hashlib
import json
import os
import random
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from cat import Cat  # noqa: E402
from control import KEYS, Server  # noqa: E402

MIB = 1 << 20
SMALL, LARGE = 1000, 20 * MIB + 1  # parts of 8 MiB: 3
EVER = {"count": None}
# Enough for the reserve, not for more parts than that.
MEMORY = "memory=33554432"


def reply(status, code, **more):
    """A rule that answers with an error."""
    return {"do": "reply", "status": status, "code": code, **more}


def lost(op, **more):
    """A rule that does what is asked for and loses the answer."""
    return {"do": "reset", "at": "request", "op": op, **more}


# A name, which object, rules, and what comes of it: "whole", or the kind of
# the error and a part of its text, behind which nothing is there.
CASES = (
    ("nothing", SMALL, [], "whole"),
    ("nothing, large", LARGE, [], "whole"),
    ("a PUT is busy", SMALL, [reply(503, "SlowDown", op="put", count=2)],
     "whole"),
    ("a PUT is refused", SMALL, [reply(403, "AccessDenied", op="put")],
     ("denied", "access is denied")),
    ("a PUT is refused before it is sent", LARGE // 3,
     [reply(403, "AccessDenied", op="put", at="head", **EVER)],
     ("denied", "access is denied")),
    ("the answer to a PUT is lost", SMALL, [lost("put", count=2)], "whole"),
    ("a PUT is done, and says 503", SMALL,
     [reply(503, "InternalError", op="put", work=True)], "whole"),
    ("a PUT is slow", SMALL, [{"do": "uprate", "bps": 250, "op": "put"}],
     "whole"),
    ("a PUT breaks off", SMALL, [{"do": "reset", "at": "read", "op": "put",
                                  "count": 3}], "whole"),
    ("a bad digest of a PUT", SMALL, [reply(400, "BadDigest", op="put")],
     "whole"),
    ("the beginning is busy", LARGE,
     [reply(500, "InternalError", op="create-upload", count=3)], "whole"),
    ("the beginning is refused", LARGE,
     [reply(403, "AccessDenied", op="create-upload")],
     ("denied", "access is denied")),
    ("the beginning is no XML", LARGE,
     [{"do": "reply", "op": "create-upload", "status": 200,
       "body": "<html>welcome</html>", "count": 2}], "whole"),
    ("a part is busy", LARGE,
     [reply(503, "SlowDown", op="upload-part", count=5)], "whole"),
    ("a part is busy before it is sent", LARGE,
     [reply(503, "SlowDown", op="upload-part", at="head", count=5)], "whole"),
    ("a part is refused", LARGE,
     [reply(403, "AccessDenied", op="upload-part", nth=2)],
     ("denied", "access is denied")),
    ("a part is refused before it is sent", LARGE,
     [reply(403, "AccessDenied", op="upload-part", at="head", **EVER)],
     ("denied", "access is denied")),
    ("a bad digest of a part", LARGE,
     [reply(400, "BadDigest", op="upload-part", count=2)], "whole"),
    ("a quota", LARGE, [reply(403, "QuotaExceeded", op="upload-part")],
     ("io", "the quota is used up")),
    ("the connection ends before a part", LARGE,
     [{"do": "reset", "at": "head", "op": "upload-part", "count": 3}],
     "whole"),
    ("in a part", LARGE,
     [{"do": "reset", "at": "body", "after": 3 * MIB, "op": "upload-part",
       "count": 3}], "whole"),
    ("behind a part", LARGE,
     [{"do": "cut", "at": "read", "op": "upload-part", "count": 3}], "whole"),
    ("the answer to a part is lost", LARGE, [lost("upload-part", count=3)],
     "whole"),
    ("a part's ETag is another", LARGE,
     [{"do": "headers", "op": "upload-part", "set": {"ETag": '"' + "0" * 32 +
                                                     '"'}, **EVER}],
     ("corrupt", "stored other bytes than it was sent")),
    ("a part's ETag is no MD5", LARGE,
     [{"do": "headers", "op": "upload-part", "count": None,
       "set": {"x-amz-server-side-encryption": "aws:kms"}}], "whole"),
    ("completing is busy", LARGE,
     [reply(503, "SlowDown", op="complete-upload", count=3)], "whole"),
    ("completing is refused", LARGE,
     [reply(403, "AccessDenied", op="complete-upload")],
     ("denied", "access is denied")),
    ("completing fails behind a 200", LARGE,
     [reply(200, "AccessDenied", op="complete-upload")],
     ("denied", "access is denied")),
    ("it fails for now behind a 200", LARGE,
     [reply(200, "InternalError", op="complete-upload", count=2)], "whole"),
    ("the answer to completing is lost", LARGE, [lost("complete-upload")],
     "whole"),
    ("it is lost, and its upload is gone", LARGE,
     [lost("complete-upload"),
      reply(404, "NoSuchUpload", op="complete-upload", **EVER)], "whole"),
    ("it is cut", LARGE, [{"do": "cut", "at": "header",
                           "op": "complete-upload"}], "whole"),
    ("an answer to completing without text", LARGE,
     [{"do": "reply", "op": "complete-upload", "status": 200, "body": "",
       "work": True}], "whole"),
    ("the upload is gone", LARGE,
     [reply(404, "NoSuchUpload", op="complete-upload", **EVER)],
     ("io", "somebody has ended the upload")),
    ("a part is gone", LARGE,
     [reply(400, "InvalidPart", op="complete-upload")],
     ("denied", "InvalidPart")),
    ("looking is refused", LARGE, [reply(403, "", op="head", **EVER),
                                   reply(403, "AccessDenied", op="get",
                                         **EVER)],
     ("denied", "access is denied")),
    ("the first look is busy", LARGE, [reply(503, "", op="head", count=3)],
     "whole"),
    ("the last look is late", LARGE, [reply(404, "", op="head", nth=3,
                                            count=2)], "whole"),
    ("conditions mean nothing", LARGE,
     [{"do": "conditions", "as": "ignored", **EVER}], "whole"),
    ("conditions are unknown", LARGE,
     [{"do": "conditions", "as": "unsupported", **EVER}], "whole"),
    ("conditions are unknown, small", SMALL,
     [{"do": "conditions", "as": "unsupported", **EVER}], "whole"),
    ("aborting is busy", LARGE,
     [reply(403, "AccessDenied", op="upload-part", nth=2),
      reply(503, "SlowDown", op="abort-upload", count=3)],
     ("denied", "access is denied")),
)


class Tests:
    """One server for all."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.root = os.path.join(scratch, "root")
        os.makedirs(os.path.join(self.root, "vms"))
        self.server = Server(self.root, scratch=scratch)
        self.files = {}

    def file(self, size):
        """A file of so many random bytes, and their MD5."""
        if size not in self.files:
            path = os.path.join(self.scratch, f"file-{size}")
            data = random.Random(size).randbytes(size)
            with open(path, "wb") as file:
                file.write(data)
            self.files[size] = (path, hashlib.md5(data).hexdigest())
        return self.files[size]

    def stored(self, key):
        """The MD5 of an object; None: there is none."""
        try:
            with open(os.path.join(self.root, "vms", key), "rb") as file:
                return hashlib.md5(file.read()).hexdigest()
        except FileNotFoundError:
            return None

    def cat(self, *options, source="s3://vms"):
        """A storecat on the server."""
        return Cat(source, f"endpoint={self.server.url()}", MEMORY, *options)

    def run(self, number):
        """One case: its outcome, and what is there then."""
        name, size, rules, want = CASES[number]
        path, md5 = self.file(size)
        key = f"case-{number}"
        self.server.reset()
        self.server.rules(*rules)
        limit = 1000 if name == "a PUT is slow" else 20000
        with self.cat(f"timeout={limit}") as cat:
            answer = cat.ask("put", key, path, "new", number % 2)
        self.server.rules()
        if want == "whole":
            tap.ok(answer.ok and self.stored(key) == md5, f"{name}: it is "
                   "stored", f"{answer}")
        else:
            tap.ok(not answer.ok and answer.kind == want[0] and
                   want[1] in answer.text and self.stored(key) is None,
                   f"{name}: it is not, and that is said", f"{answer}")
        tap.same(self.server.uploads(), [], "no upload is left")

    def check_cases(self):
        """The table."""
        for number in range(len(CASES)):
            self.run(number)

    def check_sizes(self):
        """The bytes, at every border, and the requests that it takes."""
        want = {0: 1, 1: 1, 5 * MIB: 1, 8 * MIB - 1: 1, 8 * MIB: 1,
                8 * MIB + 1: 2, 16 * MIB: 2, 40 * MIB: 5}
        for size, parts in want.items():
            path, md5 = self.file(size)
            for head in sorted({0, min(size, 4097)}):
                self.server.reset()
                with self.cat() as cat:
                    answer = cat.ask("put", f"s/{size}-{head}", path, "new",
                                     head)
                counts = self.server.counts()
                tap.same((answer.ok, self.stored(f"s/{size}-{head}")),
                         (True, md5), f"{size} bytes, head {head}")
                asked = {n: c["requests"] for n, c in counts.items()}
                tap.same(asked, {"head": 3, "put": 1} if parts == 1 else
                         {"head": 3, "create-upload": 1,
                          "upload-part": parts, "complete-upload": 1},
                         "with those requests")
        tap.same(self.server.log(signed="Signature*"), [],
                 "every signature was right")

    def check_zeroes(self):
        """A hole of the source is bytes of the object."""
        path = os.path.join(self.scratch, "sparse")
        with open(path, "wb") as file:
            file.seek(30 * MIB)
            file.write(b"end")
            file.truncate(33 * MIB)
        with open(path, "rb") as file:
            md5 = hashlib.md5(file.read()).hexdigest()
        with self.cat() as cat:
            tap.ok(cat.ask("put", "sparse", path).ok, "zeroes")
        tap.same(self.stored("sparse"), md5, "come as such")

    def check_headers(self):
        """What objects are to be besides their bytes, small and large."""
        options = {"acl": ("x-amz-acl", "bucket-owner-full-control"),
                   "content-type": ("content-type", "application/x-disk"),
                   "storage-class": ("x-amz-storage-class", "STANDARD_IA"),
                   "tags": ("x-amz-tagging", "a=1&b=%20"),
                   "sse": ("x-amz-server-side-encryption", "AES256")}
        words = [f"{n}={v}" for n, (_, v) in options.items() if n != "sse"]
        for size in (SMALL, LARGE):
            key = f"headers-{size}"
            path, _ = self.file(size)
            self.server.reset()
            with self.cat("sse=s3", "metadata", *words) as cat:
                tap.ok(cat.ask("put", key, path).ok, f"{size} bytes")
            op = "put" if size == SMALL else "create-upload"
            sent = self.server.log(op=op)[0]["headers"]
            tap.same({n: sent.get(n) for n, _ in options.values()},
                     dict(options.values()), "all options are sent")
            tap.same([sent.get("x-amz-meta-vmiefs-" + n)
                      for n in ("format", "tool")], ["raw", "storecat"],
                     "and what is known of it")
            with self.cat("sse-kms-key=arn:aws:kms:x:1:key/2") as cat:
                tap.ok(cat.ask("put", key, path, "any").ok, "with a key")
            sent = self.server.log(op=op)[1]["headers"]
            tap.same([sent.get("x-amz-server-side-encryption" + n) for n in
                      ("", "-aws-kms-key-id")],
                     ["aws:kms", "arn:aws:kms:x:1:key/2"], "of KMS")
        with self.cat("storage-class=NOPE") as cat:
            for size in (SMALL, LARGE):
                answer = cat.ask("put", "nope", self.file(size)[0])
                tap.ok(not answer.ok and "(x-amz-storage-class: NOPE)" in
                       answer.text, "a class that the server does not have",
                       f"{answer}")
        for word, part in (("sse=c", "SSE-C"), ("sse=x", "s3 or kms"),
                           ("acl=a b", "letters"), ("tags=a b", "a=1&b=2"),
                           ("content-type=ü", "ASCII"),
                           ("storage-class=", "1 to 2048")):
            with self.cat(word) as cat:
                fails = cat.first
                tap.ok(not fails.ok and fails.kind == "invalid" and
                       part in fails.text, f"not {word}", f"{fails}")

    def check_replacing(self):
        """New, any, and the one that is known, in each kind of server."""
        for how in (None, "ignored", "unsupported"):
            self.server.reset()
            if how:
                self.server.rules({"do": "conditions", "as": how, **EVER})
            for size in (SMALL, LARGE):
                self.replace(f"r-{how}-{size}", size)

    def replace(self, key, size):
        """What may be replaced by what."""
        path, md5 = self.file(size)
        other, _ = self.file(77)
        with self.cat() as cat:
            tap.ok(cat.ask("put", key, other, "new").ok, f"{key}: is new")
            answer = cat.ask("put", key, path, "new")
            tap.same(answer.kind, "exists", "and not new any more")
            etag = cat.ask("stat", key).text.split()[1]
            answer = cat.ask("put", key, path, "0" * 32)
            tap.same(answer.kind, "stale", "it is not another one")
            tap.ok(cat.ask("put", key, path, etag).ok, "it is itself")
            tap.same(self.stored(key), md5, "and was replaced")
            answer = cat.ask("put", key, other, etag)
            tap.same(answer.kind, "stale", "which is seen")
            answer = cat.ask("put", key + "-gone", other, etag)
            tap.same(answer.kind, "stale", "what is not there neither")
            tap.ok(cat.ask("put", key, other, "any").ok, "any is replaced")

    def check_race(self):
        """Somebody else makes the object between the last look and the end:
        one of both is told that it is too late."""
        for size in (SMALL, LARGE):
            key = f"race-{size}"
            path, md5 = self.file(size)
            other, other_md5 = self.file(77)
            self.server.reset()
            self.server.rules({"do": "latency", "ms": 1000, "op": "head",
                               "nth": 2})
            with self.cat() as first, self.cat() as second:
                made = []
                thread = threading.Thread(
                    target=lambda: made.append(
                        # pylint: disable-next=cell-var-from-loop
                        first.ask("put", key, path, "new")))
                thread.start()
                self.wait_for(2, op="head", key=key)
                made.insert(0, second.ask("put", key, other, "new"))
                thread.join()
            tap.same(sorted((answer.ok, answer.kind) for answer in made),
                     [(False, "exists"), (True, None)],
                     f"{size} bytes: one wins and the other is told")
            tap.same(self.stored(key), other_md5 if made[0].ok else md5,
                     "and it is the winner's")
            tap.same(self.server.uploads(), [], "no upload is left")

    def wait_for(self, count, **patterns):
        """Until so many requests were answered."""
        end = time.monotonic() + 60
        while len(self.server.log(**patterns)) < count:
            if time.monotonic() > end:
                raise RuntimeError(f"no {patterns}")
            time.sleep(0.02)

    def check_refused(self):
        """What cannot be written, before anything is sent."""
        path, _ = self.file(SMALL)
        with self.cat() as cat:
            answer = cat.ask("put", "k" * 1024, path)
            tap.ok(answer.ok, "a key of 1024 bytes")
        with self.cat(source="s3://vms/p") as cat:
            answer = cat.ask("put", "k" * 1023, path)
            tap.ok(not answer.ok and "1024 bytes" in answer.text,
                   "but not with a prefix", f"{answer}")
            tap.ok(cat.ask("put", "k", path).ok and
                   self.stored("p/k") is not None, "keys get their prefix")
        with self.cat(source="s3://") as cat:
            answer = cat.ask("put", "vms", path)
            tap.ok(not answer.ok and "no objects" in answer.text,
                   "a service has none", f"{answer}")
            cat.ask("bucket", "vms")
            tap.ok(cat.ask("put", "of-service", path).ok,
                   "but its buckets have")
        with Cat("s3://vms", f"endpoint={self.server.url()}",
                 "memory=15000000") as cat:
            answer = cat.ask("put", "poor", path)
            tap.ok(answer.kind == "no-memory" and "-o memory=" in answer.text,
                   "memory for three parts is needed", f"{answer}")
        with self.cat(f"size={6 << 40}") as cat:
            answer = cat.ask("put", "huge", path)
            tap.ok(answer.kind == "limit" and "at most" in answer.text,
                   "more than S3 takes", f"{answer}")
        with self.cat(f"size={1 << 40}") as cat:
            answer = cat.ask("put", "huge", path)
            tap.ok(answer.kind == "limit" and "scratch" in answer.text,
                   "more than parts in memory hold", f"{answer}")
        with self.cat(f"size={1 << 40}", f"scratch={self.scratch}") as cat:
            tap.ok(cat.ask("put", "huge", path).ok, "scratch space helps")

    def check_keys(self):
        """Keys that end while parts go are renewed, and the upload goes on."""
        path, md5 = self.file(LARGE)
        runs = os.path.join(self.scratch, "runs")
        config = os.path.join(self.scratch, "config")
        keys = json.dumps({"Version": 1, "AccessKeyId": KEYS["access"],
                           "SecretAccessKey": KEYS["secret"]})
        with open(os.path.join(self.scratch, "print"), "w",
                  encoding="utf-8") as file:
            file.write(f"#!/bin/sh\necho run >>{runs}\necho '{keys}'\n")
        os.chmod(file.name, 0o700)
        with open(config, "w", encoding="utf-8") as file:
            print(f"[profile p]\ncredential_process = {self.scratch}/print",
                  file=file)
        self.server.reset()
        self.server.rules(reply(400, "ExpiredToken", op="upload-part"),
                          reply(400, "ExpiredToken", op="complete-upload"))
        with Cat("s3://vms", f"endpoint={self.server.url()}", MEMORY,
                 "profile=p", AWS_CONFIG_FILE=config) as cat:
            answer = cat.ask("put", "keys", path)
        tap.ok(answer.ok and self.stored("keys") == md5,
               "keys that have expired", f"{answer}")
        with open(runs, encoding="utf-8") as file:
            tap.same(file.read(), "run\n" * 3, "were renewed twice")

    def check_down(self):
        """The server goes away while parts go, and comes back."""
        path, md5 = self.file(LARGE)
        self.server.reset()
        self.server.rules({"do": "latency", "ms": 500, "op": "upload-part",
                           **EVER})
        with self.cat("timeout=60000") as cat:
            answers = []
            thread = threading.Thread(target=lambda: answers.append(
                cat.ask("put", "down", path)))
            thread.start()
            self.wait_for(1, op="create-upload")
            self.server.stop()
            time.sleep(1)
            self.server.start()
            thread.join()
            tap.ok(answers[0].ok and self.stored("down") == md5,
                   "a server that is started anew", f"{answers[0]}")
        with self.cat("timeout=1000") as cat:
            self.server.stop()
            answer = cat.ask("put", "gone", path)
            self.server.start()
            tap.ok(not answer.ok and answer.kind in ("network", "timeout"),
                   "one that is gone", f"{answer}")


def main():
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as scratch:
        tests = Tests(scratch)
        with tests.server:
            tests.check_sizes()
            tests.check_zeroes()
            tests.check_headers()
            tests.check_cases()
            tests.check_replacing()
            tests.check_race()
            tests.check_refused()
            tests.check_keys()
            tests.check_down()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
