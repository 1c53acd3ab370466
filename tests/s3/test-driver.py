#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The S3 driver against the scripted server: what it asks, and what it makes
of good, odd and wrong answers."""

import hashlib
import http.server
import json
import os
import random
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from cat import Cat  # noqa: E402
from control import KEYS, Server  # noqa: E402

SIZE = 3_000_000
ODD = "odd keys/ü+%25&='\"<>~ \x01.txt"
DATA = random.Random(1).randbytes(SIZE)
MB = 1 << 20


def digest(offset, length):
    """What `read` answers."""
    return hashlib.sha256(DATA[offset:offset + length]).hexdigest()


def fails(answer, kind, part, what):
    """An error of that kind that says so."""
    tap.ok(not answer.ok and answer.kind == kind and part in answer.text,
           what, f"{answer}")


class Tests:
    """One server for all of them, as it was at the beginning of each."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.root = os.path.join(scratch, "root")
        self.path = os.path.join(self.root, "vms", "db", "disk.vmdk")
        os.makedirs(os.path.dirname(self.path))
        os.mkdir(os.path.join(self.root, "other"))
        self.put()
        self.server = Server(self.root, scratch=scratch)

    def restart(self, region):
        """The server in another region, "" for all."""
        self.server.stop()
        self.server = Server(self.root, "--region", region,
                             scratch=self.scratch)

    def put(self, data=DATA):
        """Store the object as a new one."""
        with open(self.path + ".new", "wb") as file:
            file.write(data)
        os.rename(self.path + ".new", self.path)

    def cat(self, source="s3://vms", *options, **env):
        """A storecat on the server."""
        return Cat(source, f"endpoint={self.server.url()}", *options, **env)

    def open(self, *options, **env):
        """A storecat with the object open, and nothing in the server's log."""
        cat = self.cat("s3://vms", *options, **env)
        tap.same(cat.ask("open", "db/disk.vmdk").text.split(" ")[0],
                 str(SIZE), "open")
        self.server.reset()
        return cat

    def statuses(self, **patterns):
        """Of the requests in the server's log."""
        return [e["status"] for e in self.server.log(**patterns)]

    def check_listing(self):
        """Levels, pages, prefixes, odd keys."""
        keys = [f"many/{i:04}" for i in range(2500)]
        self.server.objects("other", *({"key": k, "size": 1} for k in keys),
                            {"key": "many/", "size": 0},
                            {"key": "/lead//x", "size": 1},
                            {"key": "dot/../x", "size": 1})
        self.server.objects("vms", {"key": ODD, "text": "odd"})
        with self.cat() as cat:
            tap.same([line.split()[0] for line in cat.ask("list", "").lines],
                     ["db/", "odd%20keys/"], "one level")
            tap.same(cat.ask("list", "odd keys/").lines[0].split()[:2],
                     ["odd%20keys/%C3%BC%2B%2525%26%3D%27%22%3C%3E~%20%01.txt",
                      "3"], "an odd key")
            tap.same(cat.ask("stat", ODD).text.split()[0], "3", "its size")
            tap.ok(cat.ask("open", ODD).ok and cat.ask("read", 0, 3).ok,
                   "its bytes")
            tap.same([cat.ask("has", p).text for p in
                      ("db/", "db", "dx/", "odd keys/")],
                     ["yes", "yes", "no", "yes"], "prefixes")
            fails(cat.ask("stat", "db"), "not-found", "no such key",
                  "a prefix is no key")
        with self.cat("s3://other") as cat:
            self.server.reset()
            answer = cat.ask("list", "many/")
            tap.same([line.split()[0] for line in answer.lines], keys,
                     "three pages, without the marker")
            tap.same(self.statuses(op="list"), [200] * 3, "three requests")
            tap.same([line.split()[0] for line in cat.ask("all", "d").lines],
                     ["dot/../x"], "everything below")
            tap.same([line.split()[0] for line in cat.ask("all", "/").lines],
                     ["/lead//x"], "an empty segment")
            tap.ok(cat.ask("stat", "/lead//x").ok and
                   cat.ask("stat", "dot/../x").ok, "keys go out as they are")
        tap.same(self.server.log(signed="Signature*"), [],
                 "every signature was right")

    def check_prefix(self):
        """A part of a bucket."""
        with self.cat("s3://vms/db") as cat:
            tap.same(cat.first.text, "s3://vms/db", "URL")
            tap.ok(cat.ask("check").ok, "check")
            tap.same(cat.ask("list", "").lines[0].split()[:2],
                     ["disk.vmdk", str(SIZE)], "keys without the prefix")
            tap.ok(cat.ask("open", "disk.vmdk").ok, "open")
            tap.same(cat.ask("read", 5, 100).text, digest(5, 100), "read")
            tap.same(cat.ask("list", "x" * 1024).text, "0",
                     "what is too long for a key lists nothing")
            fails(cat.ask("stat", "x" * 1022), "not-found", "1024 bytes",
                  "and is none")
        with self.cat("s3://vms/nothing/here/") as cat:
            tap.ok(cat.ask("check").ok, "a prefix without keys is legal")

    def check_service(self):
        """All buckets."""
        with self.cat("s3://") as cat:
            tap.ok(cat.ask("check").ok, "check")
            tap.same(cat.ask("list", "").lines, ["other/", "vms/"], "buckets")
            tap.same(cat.ask("list", "v").lines, ["vms/"], "by prefix")
            tap.same([cat.ask("has", p).text for p in ("vms/", "vm/")],
                     ["yes", "no"], "is there a bucket")
            fails(cat.ask("stat", "vms"), "not-found", "no objects", "stat")
            fails(cat.ask("bucket", "no/name"), "invalid", "no name",
                  "an impossible name")
            tap.ok(cat.ask("bucket", "vms").ok, "into a bucket")
            tap.ok(cat.ask("open", "db/disk.vmdk").ok, "open")
            tap.same(cat.ask("read", 0, SIZE).text, digest(0, SIZE), "read")
        tap.same(cat.close(), 0, "nothing is left open")

    def check_reading(self):
        """Ranged, pinned, nothing more than that."""
        etag = None
        with self.open() as cat:
            etag = cat.ask("stat", "db/disk.vmdk").text.split()[1]
            self.server.reset()
            for offset, length, pieces in ((0, 1, 1), (0, SIZE, 7),
                                           (SIZE - 1, 1, 1), (77, 4096, 3)):
                tap.same(cat.ask("read", offset, length, pieces).text,
                         digest(offset, length), f"read {offset} {length}")
            log = self.server.log()
            tap.same([(e["method"], e["range"]) for e in log],
                     [("GET", "bytes=0-0"), ("GET", f"bytes=0-{SIZE - 1}"),
                      ("GET", f"bytes={SIZE - 1}-{SIZE - 1}"),
                      ("GET", "bytes=77-4172")], "one ranged GET each")
            tap.same({e["if_match"] for e in log}, {f'"{etag}"'}, "pinned")
            tap.same(len({e["connection"] for e in log}), 1, "one connection")
            self.server.reset()
            fails(cat.ask("nowait", 0, 1), "again", "", "without waiting")
            tap.ok(cat.ask("read", 7, 0).ok, "nothing to read")
            fails(cat.ask("read", SIZE, 1), "corrupt", "ends", "past the end")
            tap.ok(cat.ask("open", "db/disk.vmdk", SIZE, etag).ok,
                   "open with what is known")
            tap.same(self.server.log(), [], "none of that asks the server")
            tap.ok(cat.ask("read", 0, 1).ok, "read of what was known")
            stats = json.loads(cat.ask("stats").text)
            tap.ok(stats.get("requests", 0) > 5 and
                   stats.get("bytes_in", 0) > SIZE and
                   stats["calls"]["read"]["retries"] == 0, "counters", stats)
        self.server.objects("vms", {"key": "empty", "size": 0})
        with self.cat() as cat:
            tap.same(cat.ask("open", "empty").text.split()[0], "0", "empty")
            tap.ok(cat.ask("read", 0, 0).ok, "nothing of nothing")

    def check_stale(self):
        """Replaced, deleted and shortened objects stay so."""
        with self.open() as cat:
            tap.ok(cat.ask("read", 0, 10).ok, "before")
            self.put(DATA[::-1])
            fails(cat.ask("read", 0, 10), "stale", "replaced", "replaced")
            self.put()
            count = len(self.server.log())
            fails(cat.ask("read", 9, 10), "stale", "replaced", "for ever")
            tap.same(len(self.server.log()), count, "without asking again")
            tap.ok(cat.ask("open", "db/disk.vmdk").ok and
                   cat.ask("read", 0, 10).ok, "a new handle reads the new one")
            os.rename(self.path, self.path + ".away")
            fails(cat.ask("read", 0, 10), "stale", "deleted", "deleted")
            os.rename(self.path + ".away", self.path)
            fails(cat.ask("read", 0, 10), "stale", "deleted", "for ever")
            tap.ok(cat.ask("open", "db/disk.vmdk", SIZE, "0123").ok,
                   "open what is known wrongly")
            fails(cat.ask("read", 0, 10), "stale", "replaced", "its read")

    def check_wrong_answers(self):
        """Answers that are not what was asked for give no byte."""
        header = {"do": "headers", "op": "get"}
        for rule, kind, part in (
                ({"do": "shift", "by": 1}, "network", "the answer has"),
                ({"do": "narrow", "to": 5}, "network", "the answer has"),
                ({**header, "set": {"Content-Range": None}}, "network",
                 "makes no sense"),
                ({**header, "set": {"Content-Range": "bytes 9-5/7"}},
                 "network", "makes no sense"),
                ({**header, "set": {"ETag": None}}, "network", "no ETag"),
                ({**header, "set": {"ETag": '"other"'}}, "stale", "replaced"),
                ({**header, "set": {"Content-Encoding": "gzip"}},
                 "unsupported", "gzip"),
                ({"do": "whole"}, "unsupported", "the whole object")):
            what = f"{rule['do']} {rule.get('set', '')}"
            self.server.reset()
            with self.open("timeout=1000") as cat:
                self.server.rules({**rule, "op": "get", "count": None})
                answer = cat.ask("read", 100, 1000)
                asked = len(self.server.log(op="get"))
                if kind != "network":
                    fails(answer, kind, part, what)
                    tap.same(asked, 1, "is not repeated")
                    continue
                tap.ok(answer.kind in ("network", "timeout") and
                       part in answer.text, what, answer)
                tap.ok(asked > 1, f"is repeated: {asked} times")
                self.server.rules({**rule, "op": "get"})
                tap.same(cat.ask("read", 100, 1000).text, digest(100, 1000),
                         "once is as good as never")
        with self.open() as cat:
            self.server.rules({"do": "whole"})
            tap.same(cat.ask("read", 0, SIZE).text, digest(0, SIZE),
                     "a whole object where it was asked for")
            self.server.rules({**header, "set": {"ETag": None}, "op": "head"})
            fails(cat.ask("open", "db/disk.vmdk"), "unsupported", "no ETag",
                  "nothing to pin it by")

    def check_retries(self):
        """Passing trouble is met by the decorator around; a read goes on."""
        with self.open() as cat:
            for rule in ({"do": "reply", "status": 503, "code": "SlowDown"},
                         {"do": "reply", "status": 400,
                          "code": "RequestTimeout"},
                         {"do": "reply", "status": 502, "body": "<html>"},
                         {"do": "reset", "at": "request"},
                         {"do": "cut", "at": "header"}):
                self.server.reset()
                self.server.rules(rule)
                tap.same(cat.ask("read", 10, 5000).text, digest(10, 5000),
                         f"{rule['do']} {rule.get('code', '')}")
                tap.same(len(self.server.log()), 2, "at the second try")
            self.server.reset()
            self.server.rules({"do": "cut", "at": MB})
            tap.same(cat.ask("read", 0, SIZE).text, digest(0, SIZE), "cut off")
            tap.same([e["range"] for e in self.server.log()],
                     [f"bytes=0-{SIZE - 1}", f"bytes={MB}-{SIZE - 1}"],
                     "goes on from there")
            self.server.rules({"do": "reply", "status": 503, "count": None,
                               "code": "SlowDown",
                               "headers": {"Retry-After": "100"}})
        with self.cat("s3://vms", "timeout=2000") as cat:
            answer = cat.ask("list", "")
            fails(answer, "network", "SlowDown", "no end of it")
            tap.ok(answer.status == 503 and answer.code == "SlowDown",
                   "with its cause", answer)
        self.server.reset()
        with self.open() as cat:
            self.server.rules({"do": "reply", "status": 403, "count": None,
                               "code": "AccessDenied"})
            fails(cat.ask("read", 0, 1), "denied", "AccessDenied", "refused")
            tap.same(len(self.server.log()), 1, "is not repeated")
            self.server.rules({"do": "reply", "status": 403, "body": "x" * MB,
                               "count": None})
            fails(cat.ask("read", 0, 1), "denied", "HTTP 403",
                  "an endless page about an error")

    def check_clock(self):
        """The server's clock is what counts."""
        for ahead in (3600, -86400):
            for command in (("list", ""), ("stat", "db/disk.vmdk")):
                with self.cat() as cat:
                    self.server.reset()
                    self.server.clock(ahead)
                    tap.ok(cat.ask(*command).ok, f"{command[0]}: {ahead} s")
                    tap.same(len(self.server.log()), 2, "one more request")
                    tap.ok(cat.ask(*command).ok, "again")
                    tap.same(len(self.server.log()), 3, "by the right time")
                tap.ok("clock differs" in cat.log, "is logged", cat.log)
        self.server.reset()
        with self.cat() as cat:
            self.server.rules({"do": "reply", "status": 403, "count": None,
                               "code": "RequestTimeTooSkewed"})
            fails(cat.ask("list", ""), "denied", "clock", "no end of it")
            tap.same(len(self.server.log()), 2, "corrected once")

    def check_region(self):
        """The region is found out and remembered, within bounds."""
        self.restart("eu-west-1")
        for first in (("list", ""), ("stat", "db/disk.vmdk")):
            with self.cat() as cat:
                self.server.reset()
                tap.ok(cat.ask(*first).ok, f"{first[0]}: found out")
                tap.ok(cat.ask(*first).ok, "and remembered")
                tap.same(self.statuses(), [400, 200, 200], "at once")
        with self.cat(AWS_REGION="eu-west-1") as cat:
            self.server.reset()
            tap.ok(cat.ask("check").ok, "of the environment")
            tap.same(self.statuses(), [200], "asks once")
        with self.cat(AWS_REGION="eu-west-2") as cat:
            tap.ok(cat.ask("check").ok, "a wrong one of the environment")
        with self.cat("s3://vms", "region=eu-west-2") as cat:
            fails(cat.ask("check"), "invalid", "is in region eu-west-1, not "
                  "eu-west-2: give region=eu-west-1", "a wrong option")
        with self.cat("s3://", "region=eu-west-2") as cat:
            tap.ok(cat.ask("check").ok, "a service begins with it")
        with Cat("s3://vms", "region=a.b/c") as cat:
            fails(cat.first, "invalid", "no name of a region", "no region")

    def check_redirects(self):
        """To another region, and nowhere else."""
        self.restart("")
        there = {"do": "reply", "status": 301, "code": "PermanentRedirect",
                 "headers": {"x-amz-bucket-region": "eu-west-1"}}
        with self.cat() as cat:
            self.server.rules(there)
            tap.ok(cat.ask("list", "").ok, "by 301")
            self.server.rules({**there, "status": 307, "headers": {},
                               "fields": {"Region": "eu-west-2"},
                               "code": "TemporaryRedirect"})
            tap.ok(cat.ask("list", "").ok, "by 307")
        with self.cat() as cat:
            self.server.reset()
            self.server.rules(*({**there, "nth": 1, "headers": {
                "x-amz-bucket-region": f"eu-west-{i}"}} for i in range(9)))
            fails(cat.ask("list", ""), "invalid", "from region to region",
                  "to one after the other")
            tap.same(len(self.server.log()), 4, "is followed three times")
        for where in ("https://other.example/", self.server.url() + "/x"):
            with self.cat() as cat:
                self.server.reset()
                self.server.rules({**there, "count": None,
                                   "headers": {"Location": where}})
                fails(cat.ask("list", ""), "invalid", "it names",
                      f"to {where}")
                tap.same(len(self.server.log()), 1, "is not followed")

    def check_hosts(self):
        """Redirects to hosts of the endpoint's own, and to no others."""
        port = self.server.ports["http"]
        moved = {"do": "reply", "status": 307, "code": "TemporaryRedirect"}

        def to(host):
            return {**moved, "headers": {
                "Location": f"http://{host}:{port}/x?y"}}

        def cat():
            self.server.reset()
            return Cat("s3://vms", f"endpoint=http://s3.localhost:{port}")

        with cat() as one:
            tap.ok(one.ask("open", "db/disk.vmdk").ok, "open")
            self.server.reset()
            self.server.rules(to("vms.s3.localhost"))
            tap.same(one.ask("read", 5, 500).text, digest(5, 500),
                     "a read goes on at the bucket's own host")
            tap.same([e["path"] for e in self.server.log()],
                     ["/vms/db/disk.vmdk", "/db/disk.vmdk"], "and only there")
            tap.ok(one.ask("list", "").ok, "the next one")
            tap.same(self.server.log()[-1]["path"], "/vms",
                     "begins at the endpoint again")
        with cat() as one:
            self.server.rules({**to("vms.s3.localhost"), "count": None})
            fails(one.ask("list", ""), "invalid", "it names vms.s3.localhost",
                  "a redirect without an end")
            tap.same(len(self.server.log()), 4, "is followed three times")
        for host in ("evil.localhost", "vms.evils3.localhost", "localhost",
                     "127.0.0.1", "s3.localhost.evil.localhost"):
            with cat() as one:
                self.server.rules({**to(host), "count": None})
                fails(one.ask("list", ""), "invalid", f"it names {host}",
                      f"to {host}")
                tap.same(len(self.server.log()), 1, "is not followed")
        with cat() as one:
            self.server.rules({**moved, "count": None, "headers": {
                "Location": f"http://vms.s3.localhost:{port + 1}/"}})
            fails(one.ask("list", ""), "invalid", "it names", "another port")

    def check_tokens(self):
        """An expired session token is renewed, once."""
        script = os.path.join(self.scratch, "keys.sh")
        config = os.path.join(self.scratch, "config")
        counter = os.path.join(self.scratch, "counter")
        with open(script, "w", encoding="utf-8") as file:
            file.write(
                f"echo x >>'{counter}'\n"
                f"n=$(grep -c . '{counter}')\n"
                "echo '{\"Version\": 1, \"AccessKeyId\": \"AKIDTEST'$n'\", "
                "\"SecretAccessKey\": \"secret-of-'$n'\", \"SessionToken\": "
                "\"token-of-'$n'\", \"Expiration\": "
                "\"2099-01-01T00:00:00Z\"}'\n")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"[default]\ncredential_process = sh {script}\n")
        keys = [{"access": f"AKIDTEST{i}", "secret": f"secret-of-{i}",
                 "token": f"token-of-{i}"} for i in range(1, 9)]
        env = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
               "AWS_CONFIG_FILE": config}
        for command in (("list", ""), ("stat", "db/disk.vmdk"), ("read", 1,
                                                                1000)):
            if os.path.exists(counter):
                os.unlink(counter)
            self.server.keys(*keys)
            with self.open(**env) as cat:
                keys[0]["expired"] = True
                self.server.keys(*keys)
                tap.ok(cat.ask(*command).ok, f"{command[0]}: renewed")
                tap.same(self.server.log()[-1]["signed"], "AKIDTEST2",
                         "by the new key")
                for key in keys:
                    key["expired"] = True
                self.server.keys(*keys)
                fails(cat.ask(*command), "denied", "expired", "all of them")
            for key in keys:
                key.pop("expired", None)
            tap.ok("token-of" not in cat.log, "no token in the log", cat.log)
        self.server.keys(KEYS)

    def check_refusals(self):
        """Each cause has its sentence."""
        token = {"AWS_SESSION_TOKEN": "a-token-that-is-a-secret"}
        closed = "http://127.0.0.1:1"
        for what, source, options, env, part in (
                ("bucket", "s3://nobucket", (), {}, "no bucket 'nobucket'"),
                ("key", "s3://vms", (), {"AWS_ACCESS_KEY_ID": "AKIDNOBODY"},
                 "does not know access key AKIDNOBODY"),
                ("secret", "s3://vms", (), {"AWS_SECRET_ACCESS_KEY": "x"},
                 "the secret key does not fit access key"),
                ("token", "s3://vms", (), token, "session token of"),
                ("no key", "s3://vms", ("anonymous",), {}, "without a key"),
                ("port", "s3://vms", (f"endpoint={closed}",), {},
                 "refused"),
                ("name", "s3://vms", ("endpoint=http://no.invalid",), {},
                 "no.invalid: the name cannot be resolved")):
            with self.cat(source, *options, **env) as cat:
                answer = cat.ask("check")
                tap.ok(not answer.ok and part in answer.text, f"bad {what}",
                       answer)
            tap.ok("secret" not in answer.text.replace("secret key", "") and
                   "a-token" not in cat.log, "without secrets", answer)
        with self.cat() as cat:
            for reply, part in (
                    ({"status": 200, "body": "<html><h1>Router</h1></html>"},
                     "web page"),
                    ({"status": 404, "body": "<!DOCTYPE html><html>"},
                     "web page"),
                    ({"status": 200, "body": "{}"}, "no listing of S3's"),
                    ({"status": 403, "code": "AccessDenied",
                      "message": "User is not authorized"},
                     "User is not authorized"),
                    ({"status": 403, "code": "InvalidObjectState",
                      "fields": {"StorageClass": "GLACIER"}}, "GLACIER")):
                self.server.rules({"do": "reply", **reply})
                answer = cat.ask("check")
                tap.ok(not answer.ok and part in answer.text, part, answer)

    def check_hostile_listings(self):
        """Pages that make no sense are refused as a whole."""
        good = "<Size>1</Size><LastModified>2026-11-20T19:24:22Z" \
            "</LastModified>"
        with self.cat("s3://vms/db", "timeout=1000") as cat:
            for body, part in (
                    (f"<Contents><Key>db/a</Key>{good}</Contents><Contents>"
                     f"<Key>else/b</Key>{good}</Contents>", "the prefix"),
                    ("<IsTruncated>true</IsTruncated>", "ListObjectsV2"),
                    ("<Contents><Key>db/a</Key><Size>-1</Size></Contents>",
                     "a size of '-1'")):
                self.server.rules({
                    "do": "reply", "status": 200, "count": None, "body":
                    f"<ListBucketResult>{body}</ListBucketResult>"})
                answer = cat.ask("list", "")
                tap.ok(not answer.ok and part in answer.text and
                       not answer.lines, part, answer)
            self.server.rules({"do": "reply", "status": 200, "body": "x",
                               "repeat": 9 * MB})
            fails(cat.ask("list", ""), "limit", "", "an endless page")


def check_headers():
    """What is sent besides the signature, and when none is."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        """Answers everything with an empty listing."""

        def do_GET(self):  # pylint: disable=invalid-name
            """Keep the headers."""
            seen.append({n.lower(): v for n, v in self.headers.items()})
            body = b"<ListBucketResult/>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"endpoint=http://127.0.0.1:{server.server_address[1]}"
    for options, want in (
            (("anonymous",), {"authorization": False, "x-amz-date": False}),
            (("requester-pays",), {"x-amz-request-payer": "requester",
                                   "authorization": True}),
            (("unsigned",), {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
            ((), {"x-amz-content-sha256": hashlib.sha256().hexdigest(),
                  "x-amz-request-payer": False, "authorization": True})):
        with Cat("s3://vms", endpoint, *options) as cat:
            tap.ok(cat.ask("check").ok, f"with {options}")
        got = {name: seen[-1].get(name, False) for name in want}
        got.update({n: bool(got[n]) for n, v in want.items() if v is True})
        tap.same(got, want, "its headers")
    server.shutdown()


def main():
    with tempfile.TemporaryDirectory() as scratch:
        tests = Tests(scratch)
        try:
            for name in sorted(n for n in dir(tests) if n.startswith("check")):
                if len(sys.argv) > 1 and sys.argv[1] not in name:
                    continue
                print(f"# {name}")
                getattr(tests, name)()
                tests.restart("us-east-1")
            check_headers()
        finally:
            tests.server.stop()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
