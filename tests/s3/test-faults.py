#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What a server may do to a read: each gives the right bytes or an error in
time, never wrong bytes, and Ctrl-C ends it within a second. A key has a fault
of its own, so all are tried at once."""

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts  # noqa: E402

SIZE = 3 << 20
EVER = {"count": None}
PAGE = "<html><body>It works!</body></html>\n"
RIGHT = ("right",)
FAILS = ("EIO", "ETIMEDOUT")


def reply(status, code, **more):
    """A rule that answers with an error."""
    return {"do": "reply", "status": status, "code": code, **more}


def body(status, text, **more):
    """A rule that answers with a text."""
    return {"do": "reply", "status": status, "body": text, **more}


# What happens to reads of a key: one rule, and what may come of it.
CASES = (
    ("nothing", None, RIGHT),
    ("500", reply(500, "InternalError", count=3), RIGHT),
    ("502 by a proxy", body(502, PAGE, count=2), RIGHT),
    ("503", reply(503, "ServiceUnavailable", count=3), RIGHT),
    ("SlowDown and Retry-After", reply(503, "SlowDown",
                                       headers={"Retry-After": "1"}), RIGHT),
    ("504 in the middle", body(504, "", nth=2), RIGHT),
    ("429", reply(429, "TooManyRequests", count=2), RIGHT),
    ("RequestTimeout", reply(400, "RequestTimeout"), RIGHT),
    ("reset before an answer", {"do": "reset", "at": "request"}, RIGHT),
    ("reset in the header", {"do": "reset", "at": "header"}, RIGHT),
    ("reset at byte 0", {"do": "reset", "at": 0}, RIGHT),
    ("reset at a byte", {"do": "reset", "at": 40001, "count": 4}, RIGHT),
    ("reset behind the body", {"do": "reset", "at": "end"}, RIGHT),
    ("end before an answer", {"do": "cut", "at": "request"}, RIGHT),
    ("end in the header", {"do": "cut", "at": "header"}, RIGHT),
    ("cut at byte 0", {"do": "cut", "at": 0}, RIGHT),
    ("cut at a byte", {"do": "cut", "at": 33333, "count": 4}, RIGHT),
    ("a pause", {"do": "stall", "at": 4096, "seconds": 3}, RIGHT),
    ("latency", {"do": "latency", "ms": 500, **EVER}, RIGHT),
    ("a shorter range", {"do": "narrow", "to": 1000}, RIGHT),
    ("another range", {"do": "shift", "by": 512}, RIGHT),
    ("the whole object", {"do": "whole"}, ("ENOTSUP", *RIGHT, *FAILS)),
    ("no Content-Range", {"do": "headers", "set": {"Content-Range": None}},
     RIGHT),
    ("a wrong Content-Range",
     {"do": "headers", "set": {"Content-Range": "bytes 7-9/4"}}, RIGHT),
    ("another total",
     {"do": "headers", "set": {"Content-Range": "bytes 0-65535/99999"}},
     RIGHT),
    ("no ETag", {"do": "headers", "set": {"ETag": None}}, RIGHT),
    ("a wrong ETag", {"do": "headers", "set": {"ETag": '"other"'}},
     ("ESTALE", *RIGHT)),
    ("a page instead", body(200, PAGE), RIGHT),
    ("a page in the middle", body(200, PAGE, nth=2), RIGHT),
    ("a page as the range", body(206, PAGE), RIGHT),
    ("a huge error", body(503, "<Error>" + "x" * 1000, repeat=20000), RIGHT),
    # These last.
    ("503 for ever", reply(503, "SlowDown", **EVER), FAILS),
    ("huge Retry-After", reply(503, "SlowDown", **EVER,
                               headers={"Retry-After": "86400"}), FAILS),
    ("resets for ever", {"do": "reset", "at": "header", **EVER}, FAILS),
    ("silence for ever", {"do": "stall", "at": "request", **EVER}, FAILS),
    ("silence in the middle", {"do": "stall", "at": 50000, **EVER}, FAILS),
    ("another range for ever", {"do": "shift", "by": 512, **EVER}, FAILS),
    ("no Content-Range for ever",
     {"do": "headers", "set": {"Content-Range": None}, **EVER}, FAILS),
    ("no ETag for ever", {"do": "headers", "set": {"ETag": None}, **EVER},
     FAILS),
    ("the whole object for ever", {"do": "whole", **EVER},
     ("ENOTSUP", *RIGHT, *FAILS)),
    ("another ETag for ever",
     {"do": "headers", "set": {"ETag": '"other"'}, **EVER},
     ("ESTALE",)),
    ("a page for ever", body(200, PAGE, **EVER), FAILS),
    ("a page as the range for ever", body(206, PAGE, **EVER), FAILS),
    ("a huge page for ever", body(200, PAGE, repeat=500000, **EVER), FAILS),
    ("403", reply(403, "AccessDenied", **EVER), ("EACCES",)),
    ("403 in the middle", reply(403, "AccessDenied", nth=2, **EVER),
     ("EACCES",)),
    ("expired credentials", reply(400, "ExpiredToken", **EVER), ("EACCES",)),
    ("gone in the middle", reply(404, "NoSuchKey", nth=2, **EVER),
     ("ESTALE",)),
    ("replaced in the middle", reply(412, "PreconditionFailed", nth=2, **EVER),
     ("ESTALE",)),
    ("a redirect to nowhere", reply(
        307, "TemporaryRedirect", **EVER,
        headers={"Location": "http://127.0.0.1:1/x"}), ("EINVAL", *FAILS)),
    ("a redirect to itself", reply(
        301, "PermanentRedirect", **EVER,
        headers={"x-amz-bucket-region": "eu-west-1"}),
     ("EACCES", "EINVAL", *FAILS)),
)
# The server's silence is noticed after 20 s, which the deadline has to allow.
SLOW_CASES = (
    ("silence once", {"do": "stall", "at": "request"}, RIGHT),
    ("silence in a header", {"do": "stall", "at": "header"}, RIGHT),
    ("silence at a byte", {"do": "stall", "at": 9999}, RIGHT),
    ("a trickle", {"do": "rate", "bps": 100}, RIGHT),
)
# What the sentence has to say; and that it is the last of many.
SAYS = {
    "another range for ever": "asked for bytes 0-.*, the answer has 512-",
    "no Content-Range for ever": "Content-Range is '', which makes no sense",
    "no ETag for ever": "the answer has no ETag",
    "a page for ever": "the answer has no ETag",
    "a page as the range for ever": "the answer has no ETag",
}
GAVE_UP = "gave up after [0-9]+ tries"
# Refused, and not tried again.
NO_RETRY = ("403", "403 in the middle", "expired credentials")
DEADLINE = 12  # seconds of store-timeout
SLOW_DEADLINE = 60

READER = """
import errno, json, os, sys
want = open(sys.argv[2], "rb").read()
at, why = 0, ""
try:
    fd = os.open(sys.argv[1], os.O_RDONLY)
    while at < len(want):
        data = os.pread(fd, 65536, at)
        if data != want[at:at + len(data)] or not data:
            why = "wrong bytes at %d" % at
            break
        at += len(data)
except OSError as error:
    why = errno.errorcode[error.errno]
print(json.dumps([at, why]))
"""


def read(mount, name, want, deadline):
    """Read a disk: (bytes that were right, why it ended, seconds)."""
    begin = time.monotonic()
    with subprocess.Popen(
            [sys.executable, "-c", READER, mount.path(f"disks/{name}.img"),
             want], stdout=subprocess.PIPE, text=True) as reader:
        try:
            text, _ = reader.communicate(timeout=deadline)
            done, why = json.loads(text)
        except subprocess.TimeoutExpired:
            done, why = 0, "no answer"
            reader.kill()
    return done, why, time.monotonic() - begin


def try_all(mount, cases, want, deadline):
    """All cases at once."""
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        jobs = [(case, pool.submit(read, mount, case[0], want, deadline * 2))
                for case in cases]
    return [(case, *job.result()) for case, job in jobs]


def judge(server, mount, results, deadline):
    """One check a case."""
    errors = [json.loads(line) for line in
              mount.text("control/errors").splitlines()]
    for (name, _, allowed), done, why, seconds in results:
        kind = why or "right"
        said = [e for e in errors if e.get("path", "").endswith(
            f"/{name}.img")]
        tap.ok(kind in allowed and seconds < deadline + 5,
               f"{name}: {kind} in {seconds:.1f} s",
               f"want {allowed}; {done} bytes were right; {said}")
        if kind != "right":
            tap.ok(any(len(e.get("error", "")) > 20 for e in said),
                   f"{name}: control/errors has a sentence", said or errors)
        if name in SAYS:
            tap.ok(any(re.search(f"{SAYS[name]}.*{GAVE_UP}", e["error"])
                       for e in said), f"{name}: and says what it was", said)
        if name in NO_RETRY:
            ranges = [e["range"] for e in
                      server.log(op="get", key=f"{name}.img")]
            # A look at the file and an open of it may both ask, once each.
            tap.ok(max(map(ranges.count, ranges)) <= 2,
                   f"{name}: is not tried again", ranges)


def check_reads(server, top, want):
    """All faults, on two mounts with deadlines of their own."""
    for name, rule, _ in CASES + SLOW_CASES:
        os.link(want, os.path.join(top, "root/faults", f"{name}.img"))
    server.rules(*({"op": "get", "key": f"{name}.img", **rule}
                   for name, rule, _ in CASES + SLOW_CASES if rule))
    options = ("endpoint=" + server.url(), "addressing=path", "ttl=60")
    with Mount(top, "s3://faults", *options, f"store-timeout={DEADLINE}",
               f"timeout={DEADLINE + 3}") as mount, \
            Mount(top, "s3://faults", *options) as patient:
        for each in (mount, patient):
            os.listdir(each.path("disks"))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            slow = pool.submit(try_all, patient, SLOW_CASES, want,
                               SLOW_DEADLINE)
            results = try_all(mount, CASES, want, DEADLINE)
        judge(server, mount, results, DEADLINE)
        judge(server, patient, slow.result(), SLOW_DEADLINE)
        mount.check_memory(384)


def check_listings(server, top):
    """A page instead of a listing is not believed; for ever, it is told."""
    for rule, count in (({"count": 2}, 1), (EVER, 0)):
        with Mount(top, "s3://faults", "endpoint=" + server.url(),
                   "addressing=path", "store-timeout=5") as mount:
            server.rules({"op": "list", **body(200, PAGE), **rule})
            try:
                found = len(os.listdir(mount.path("disks")))
                why = ""
            except OSError as error:
                found, why = 0, str(error)
            server.rules()
            tap.ok((found > 0) == bool(count), f"{found} files by a listing, "
                   f"a page {'twice' if count else 'for ever'}", why)
            again = len(os.listdir(mount.path("disks")))
            tap.ok(again > 0, "and then it is right")


def in_request(pid):
    """Does the process wait for the file system?"""
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return file.read().startswith(("request_wait", "0"))
    except OSError:
        return False


def check_interrupt(server, top, want):
    """Ctrl-C ends whoever waits for a silent server."""
    for op, command in (("get", ["cat"]), ("get", ["head", "-c", "1"]),
                        ("list", ["ls", "-U"])):
        name = "disks" if op == "list" else f"disks/ctrl-{len(command)}.img"
        if op == "get":
            os.link(want, os.path.join(top, "root/faults",
                                       os.path.basename(name)))
        with Mount(top, "s3://faults", "endpoint=" + server.url(),
                   "addressing=path") as mount:
            if op == "get":
                os.stat(mount.path(name))
            server.rules({"op": op, "do": "stall", "at": "request", **EVER})
            with subprocess.Popen([*command, mount.path(name)],
                                  stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as reader:
                end = time.monotonic() + 10
                while not in_request(reader.pid) and time.monotonic() < end:
                    time.sleep(0.05)
                time.sleep(1)
                alive = reader.poll() is None
                begin = time.monotonic()
                reader.send_signal(signal.SIGINT)
                reader.wait(60)
            took = time.monotonic() - begin
            tap.ok(alive and took < 1, f"Ctrl-C of {command[0]}",
                   f"it hung: {alive}; {took:.1f} s")
            server.rules()


def check_restart(server, top, want):
    """The server is killed in the middle of a read and comes back."""
    os.link(want, os.path.join(top, "root/faults/restart.img"))
    with open(want, "rb") as file:
        data = file.read()
    with Mount(top, "s3://faults", "endpoint=" + server.url(),
               "addressing=path", "store-timeout=20") as mount, \
            concurrent.futures.ThreadPoolExecutor(1) as pool, \
            open(mount.path("disks/restart.img"), "rb", 0) as disk:
        tap.ok(os.pread(disk.fileno(), 4096, 0) == data[:4096],
               "the server lives")
        server.stop()
        begin = time.monotonic()
        later = pool.submit(lambda: (time.sleep(3), server.start()))
        got = os.pread(disk.fileno(), 65536, SIZE - 65536)
        tap.ok(got == data[-65536:], "killed, and back after three seconds")
        tap.ok(time.monotonic() - begin > 2.5, "which it waited for")
        later.result()
        server.stop()
        begin = time.monotonic()
        done, why, seconds = read(mount, "nothing", want, 60)
        server.start()
        tap.ok(why in ("", *FAILS) and seconds < 30,
               f"killed for good: {why or 'right'} in {seconds:.1f} s",
               f"{done} bytes were right")


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        os.makedirs(os.path.join(top, "root/faults"))
        want = os.path.join(top, "want")
        with open(want, "wb") as file:
            file.write(os.urandom(SIZE))
        with Server(os.path.join(top, "root")) as server:
            check_reads(server, top, want)
            check_listings(server, top)
            check_interrupt(server, top, want)
            check_restart(server, top, want)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
