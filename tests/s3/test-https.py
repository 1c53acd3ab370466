#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""One file of a web server as a store: servers that know ranges and those that
do not, presigned URLs, redirects; secrets stay secret."""

import hashlib
import http.server
import os
import random
import re
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import sigv4  # noqa: E402
import tap  # noqa: E402
from cat import Cat  # noqa: E402
from control import KEYS, Server  # noqa: E402

DATA = random.Random(2).randbytes(2_000_000)
DATE = "Fri, 20 Nov 2026 19:24:18 GMT"
LATER = "Fri, 20 Nov 2026 19:24:19 GMT"
SECRET = "X-Amz-Signature=top-secret"


class Web(http.server.ThreadingHTTPServer):
    """A web server; `conf` says how it behaves, `log` what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.conf, self.log = {}, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def set(self, **conf):
        """Behave in this way from now on."""
        self.conf, self.log = conf, []

    def url(self, path="/d/my%20disk.vmdk", query="?" + SECRET):
        """Of a file."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}{query}"


class Handler(http.server.BaseHTTPRequestHandler):
    """DATA under every path, with an ETag and ranges, unless told not to."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):  # pylint: disable=invalid-name
        """The same without a body."""
        if self.server.conf.get("head"):
            self.server.log.append(("HEAD", self.path, None))
            self.reply(self.server.conf["head"], {}, b"")
            return
        self.do_GET()

    def do_GET(self):  # pylint: disable=invalid-name
        """Whole or a range."""
        conf = self.server.conf
        self.server.log.append((self.command, self.path,
                                self.headers["Range"]))
        moved = conf.get("moved", {}).get(self.path.split("?")[0])
        if moved:
            self.reply(302, {"Location": moved}, b"elsewhere")
            return
        if self.path.split("?")[0] in conf.get("refused", ()):
            self.reply(403, {}, b"<Error><Code>AccessDenied</Code>"
                       b"<Message>" + SECRET.encode() + b"</Message></Error>")
            return
        data = conf.get("data", DATA)
        headers = {"ETag": conf.get("etag", '"v1"'),
                   "Last-Modified": conf.get("date", DATE),
                   "Accept-Ranges": conf.get("ranges", "bytes")}
        match = self.headers["If-Match"]
        if match and match != headers["ETag"]:
            self.reply(412, {}, b"")
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        if not found or headers["Accept-Ranges"] != "bytes":
            self.reply(200, headers, data)
            return
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        if first >= len(data):
            self.reply(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self.reply(206, headers, data[first:last + 1])

    def reply(self, status, headers, body):
        """Send it."""
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

    def log_message(self, *_):  # pylint: disable=arguments-differ
        """Nothing."""


def digest(offset, length):
    """What `read` answers."""
    return hashlib.sha256(DATA[offset:offset + length]).hexdigest()


def fails(answer, kind, part, what):
    """An error of that kind that says so, and no secret."""
    tap.ok(not answer.ok and answer.kind == kind and part in answer.text and
           "secret" not in answer.text, what, f"{answer}")


def check_ordinary(web):
    """A server that does everything."""
    web.set()
    with Cat(web.url()) as cat:
        tap.same(cat.first.text, web.url(query=""), "URL without the query")
        tap.ok(cat.ask("check").ok, "check")
        tap.same(cat.ask("list", "").lines,
                 ["my%20disk.vmdk 2000000 1795202658000000000 v1"], "list")
        tap.same(cat.ask("list", "x").lines, [], "by prefix")
        tap.same(cat.ask("has", "d/").text, "no", "no prefix")
        tap.ok(cat.ask("open", "my disk.vmdk").ok, "open")
        fails(cat.ask("open", "other.vmdk"), "not-found", "only key",
              "another key")
        tap.ok(cat.ask("open", "my disk.vmdk").ok, "open")
        for offset, length, pieces in ((0, 1, 1), (0, 2000000, 9),
                                       (1999999, 1, 1), (7, 70000, 2)):
            tap.same(cat.ask("read", offset, length, pieces).text,
                     digest(offset, length), f"read {offset} {length}")
        fails(cat.ask("nowait", 0, 1), "again", "", "without waiting")
        web.set(etag='"v2"')
        fails(cat.ask("read", 0, 10), "stale", "replaced", "replaced")
        web.set()
        fails(cat.ask("read", 0, 10), "stale", "replaced", "for ever")
        tap.same(web.log, [], "without asking again")
    tap.same(cat.close(), 0, "nothing is left open")
    tap.ok("secret" not in cat.log, "no secret in the log", cat.log)


def check_weak(web):
    """Pinned by time where there is no strong ETag."""
    for etag in ('W/"v1"', None):
        web.set(etag=etag)
        with Cat(web.url()) as cat:
            tap.same(cat.ask("open", "my disk.vmdk").text,
                     "2000000 modified 2026-11-20T19:24:18Z", f"ETag {etag}")
            tap.same(cat.ask("read", 5, 500).text, digest(5, 500), "read")
            web.set(etag=etag, date=LATER)
            fails(cat.ask("read", 0, 10), "stale", "replaced", "replaced")
            tap.ok(cat.ask("open", "my disk.vmdk").ok and
                   cat.ask("read", 0, 10).ok, "again")
            web.set(etag=etag, date=LATER, data=DATA[:-1])
            fails(cat.ask("read", 0, 10), "stale", "1999999", "shortened")
        tap.same(cat.log.count("no strong ETag"), 1, "said once")
    web.set(etag=None, date=None)
    with Cat(web.url()) as cat:
        fails(cat.ask("stat", "my disk.vmdk"), "unsupported", "neither",
              "neither")


def check_no_ranges(web):
    """A whole file is never transferred for a part of it."""
    for ranges in ("none", None):
        web.set(ranges=ranges)
        with Cat(web.url()) as cat:
            fails(cat.ask("check"), "unsupported", "does not support ranges",
                  f"check, Accept-Ranges: {ranges}")
    web.set(data=b"x", ranges=None)
    with Cat(web.url()) as cat:
        tap.ok(cat.ask("check").ok, "one byte is enough of a file")
    web.set(data=b"")
    with Cat(web.url()) as cat:
        tap.ok(cat.ask("check").ok, "so is none")
        tap.same(cat.ask("open", "my disk.vmdk").text, "0 v1", "empty")


def check_refused_head(web):
    """Presigned for GET, HEAD is refused."""
    for status in (403, 405, 501):
        web.set(head=status)
        with Cat(web.url()) as cat:
            tap.same(cat.ask("stat", "my disk.vmdk").text, "2000000 v1",
                     f"HEAD is answered with {status}")
            tap.same(web.log[-1], ("GET", "/d/my%20disk.vmdk?" + SECRET,
                                   "bytes=0-0"), "by one byte")
    web.set(head=404)
    with Cat(web.url()) as cat:
        fails(cat.ask("stat", "my disk.vmdk"), "not-found", "HTTP 404", "404")
    web.set(refused=["/d/my%20disk.vmdk"])
    with Cat(web.url()) as cat:
        fails(cat.ask("check"), "denied", "expired? (AccessDenied, HTTP 403)",
              "refused")
    tap.ok("secret" not in cat.log, "no secret in the log", cat.log)


def check_redirects(web):
    """Followed, remembered for reads, forgotten when that is over."""
    far = web.url("/far", "?far-" + SECRET)
    web.set(moved={"/d/my%20disk.vmdk": "/near", "/near": far})
    with Cat(web.url()) as cat:
        tap.ok(cat.ask("open", "my disk.vmdk").ok, "open")
        tap.same([path.split("?")[0] for _, path, _ in web.log],
                 ["/d/my%20disk.vmdk", "/near", "/far"], "two redirects")
        tap.same(cat.ask("read", 0, 100).text, digest(0, 100), "read")
        web.log.clear()
        tap.same(cat.ask("read", 9, 100).text, digest(9, 100), "read")
        tap.same([path.split("?")[0] for _, path, _ in web.log], ["/far"],
                 "goes there at once")
        web.set(moved={"/d/my%20disk.vmdk": "/new"}, refused=["/far"])
        tap.same(cat.ask("read", 9, 100).text, digest(9, 100),
                 "the target has expired")
        tap.same([path.split("?")[0] for _, path, _ in web.log],
                 ["/far", "/d/my%20disk.vmdk", "/new"], "begins anew")
        web.set(moved={"/d/my%20disk.vmdk": "/v2"}, etag='"v2"')
        tap.same(cat.ask("stat", "my disk.vmdk").text, "2000000 v2",
                 "stat begins anew")
        fails(cat.ask("read", 0, 9), "stale", "replaced", "the old one")
    tap.ok("secret" not in cat.log, "no secret in the log", cat.log)
    for moved, kind, part in (
            ({"/d/my%20disk.vmdk": "/a", "/a": "/b", "/b": "/c", "/c": "/d"},
             "invalid", "more than 3 times"),
            ({"/d/my%20disk.vmdk": "http://web.example/x?" + SECRET},
             "invalid", "this machine only"),
            ({"/d/my%20disk.vmdk": "https://u:secret@web.example/x"},
             "invalid", "user and password"),
            ({"/d/my%20disk.vmdk": "file:///etc/passwd"}, "invalid",
             "no https:// URL")):
        web.set(moved=moved)
        with Cat(web.url()) as cat:
            fails(cat.ask("check"), kind, part, part)


def check_sources(web):
    """What is no source."""
    for source, part in (
            ("http://web.example/x?" + SECRET, "this machine only"),
            ("https://user:secret@web.example/x", "user and password"),
            ("https://web.example/?" + SECRET, "names no file"),
            ("ftp://user:secret@web.example/x", "ftp:// is not supported"),
            (web.url("/a b"), "percent-encoded")):
        with Cat(source) as cat:
            fails(cat.first, cat.first.kind, part, part)


def check_presigned(scratch):
    """A presigned URL of S3, which HEAD is not allowed with."""
    root = os.path.join(scratch, "root")
    os.makedirs(os.path.join(root, "vms"))
    with open(os.path.join(root, "vms", "disk.vmdk"), "wb") as file:
        file.write(DATA)
    with Server(root, scratch=scratch) as server:
        host = f"127.0.0.1:{server.ports['http']}"
        query = sigv4.presign(KEYS, host, "/vms/disk.vmdk", 3600)
        url = f"http://{host}/vms/disk.vmdk?{query}"
        with Cat(url) as cat:
            tap.ok(cat.ask("check").ok, "presigned")
            tap.ok(cat.ask("open", "disk.vmdk").ok, "open")
            tap.same(cat.ask("read", 3, 300).text, digest(3, 300), "read")
            server.clock(7200)
            fails(cat.ask("read", 3, 300), "denied", "has the URL expired?",
                  "expired")
        tap.ok(query[-64:] not in cat.log, "no signature in the log", cat.log)
        with Cat(url[:-1]) as cat:
            fails(cat.ask("check"), "denied", "HTTP 403", "a wrong signature")


def main():
    web = Web()
    for check in (check_ordinary, check_weak, check_no_ranges,
                  check_refused_head, check_redirects, check_sources):
        print(f"# {check.__name__}")
        check(web)
    with tempfile.TemporaryDirectory() as scratch:
        check_presigned(scratch)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
