#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What a server may do to a file that is written into the mount, or renamed:
of each fault, what close() or rename() says, that the object is whole or
absent accordingly, and that no part upload is left."""

import concurrent.futures
import errno
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import KEYS, Server  # noqa: E402
from mounted import Mount, environment, need_mounts  # noqa: E402

MIB = 1 << 20
SMALL = random.Random(1).randbytes(3 * MIB)      # one PUT
LARGE = random.Random(2).randbytes(20 * MIB + 7)  # three parts
EVER = {"count": None}
GOOD = ("0",)
FAILS = ("EIO", "ETIMEDOUT")
DENIED = ("EACCES",)
TIMEOUT = 4  # seconds of store-timeout
PLACES = ("head", "body", "read", "request", "header", "end")


def reply(op, status, code, **more):
    """A rule that answers with an error."""
    return {"op": op, "do": "reply", "status": status, "code": code, **more}


def breaks(op, where, **more):
    """A rule that loses the connection."""
    return {"op": op, "do": "reset", "at": where, **more}


# Name, bytes, rules, what close() may say.
CASES = (
    ("nothing", LARGE, [], GOOD),
    ("small", SMALL, [], GOOD),
    ("a part fails three times",
     LARGE, [reply("upload-part", 503, "SlowDown", count=3)], GOOD),
    ("a part fails for ever",
     LARGE, [reply("upload-part", 500, "InternalError", nth=2, **EVER)],
     FAILS),
    ("a part breaks for ever",
     LARGE, [breaks("upload-part", "body", nth=2, **EVER)], FAILS),
    ("a part meets silence",
     LARGE, [{"op": "upload-part", "do": "stall", "at": "read", **EVER}],
     FAILS),
    ("one part is refused",
     LARGE, [reply("upload-part", 403, "AccessDenied", nth=2)], DENIED),
    ("beginning is refused",
     LARGE, [reply("create-upload", 403, "AccessDenied", **EVER)], DENIED),
    ("beginning fails for ever",
     LARGE, [reply("create-upload", 500, "InternalError", **EVER)], FAILS),
    ("completing fails once",
     LARGE, [reply("complete-upload", 500, "InternalError")], GOOD),
    ("completing fails for ever",
     LARGE, [reply("complete-upload", 500, "InternalError", **EVER)], FAILS),
    ("completing is refused",
     LARGE, [reply("complete-upload", 403, "AccessDenied", **EVER)], DENIED),
    ("an error behind a 200",
     LARGE, [reply("complete-upload", 200, "AccessDenied", **EVER)], DENIED),
    ("a passing error behind a 200",
     LARGE, [reply("complete-upload", 200, "InternalError")], GOOD),
    ("a passing error behind a 200, for ever",
     LARGE, [reply("complete-upload", 200, "InternalError", **EVER)], FAILS),
    ("the answer to completing is lost",
     LARGE, [breaks("complete-upload", "request")], GOOD),
    ("the answer to completing is another",
     LARGE, [reply("complete-upload", 500, "InternalError", work=True)],
     GOOD),
    ("the answer to a PUT is lost", SMALL, [breaks("put", "request")], GOOD),
    ("a PUT is refused",
     SMALL, [reply("put", 403, "AccessDenied", **EVER)], DENIED),
    ("a PUT fails for ever",
     SMALL, [reply("put", 503, "SlowDown", **EVER)], FAILS),
    ("the bucket is full",
     LARGE, [reply("upload-part", 507, "InsufficientStorage", nth=2, **EVER)],
     ("ENOSPC", "EDQUOT", "EIO")),
    ("the quota is used up",
     LARGE, [reply("upload-part", 403, "QuotaExceeded", nth=2, **EVER)],
     ("ENOSPC", "EDQUOT", "EACCES")),
    ("the quota is used up, small",
     SMALL, [reply("put", 403, "QuotaExceeded", **EVER)],
     ("ENOSPC", "EDQUOT", "EACCES")),
    ("keys have expired",
     LARGE, [reply("upload-part", 400, "ExpiredToken", nth=2, **EVER)],
     DENIED),
    *((f"{op} breaks at {where}", SMALL if op == "put" else LARGE,
       [breaks(op, where)], GOOD)
      for op in ("put", "create-upload", "upload-part", "complete-upload")
      for where in PLACES),
    *((f"aborting breaks at {where}",
       LARGE, [reply("upload-part", 403, "AccessDenied", nth=2),
               breaks("abort-upload", where)], DENIED)
      for where in PLACES if where != "body"),
)


def name_of(number):
    """The error of a number, "0" for none."""
    return errno.errorcode.get(number, str(number))


def write(path, data):
    """All bytes, then close(): what that said."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    first = "0"
    try:
        for at in range(0, len(data), MIB):
            os.write(fd, data[at:at + MIB])
    except OSError as error:
        first = name_of(error.errno)
    try:
        os.close(fd)
        return "0" if first == "0" else f"0 behind {first}"
    except OSError as error:
        return name_of(error.errno)


def write_or_fail(path, data):
    """The same where open() may fail, too."""
    try:
        return write(path, data)
    except OSError as error:
        return name_of(error.errno)


class Place:
    """A server with one bucket."""

    def __init__(self, top):
        self.root = os.path.join(top, "root")
        self.top = top
        os.makedirs(os.path.join(self.root, "one"))
        self.scratch = os.path.join(top, "scratch")
        os.mkdir(self.scratch)
        self.server = Server(self.root)
        self.options = ("endpoint=" + self.server.url(), "addressing=path",
                        f"scratch={self.scratch}", "delete", "overwrite")

    def mount(self, *options, timeout=TIMEOUT, **more):
        """A mount of it."""
        return Mount(self.top, "s3://one", *self.options, *options,
                     f"store-timeout={timeout}", **more)

    def stored(self, name):
        """The bytes of an object, None where there is none."""
        try:
            with open(os.path.join(self.root, "one", name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def no_uploads(self, what):
        """None is open before long."""
        end = time.monotonic() + 60
        while self.server.uploads() and time.monotonic() < end:
            time.sleep(0.1)
        tap.same([u["key"] for u in self.server.uploads()], [],
                 f"{what}: no part upload is left")


def judge(place, what, said, allowed, name, data):
    """What was said, and what is there."""
    tap.ok(said in allowed, f"{what}: close() says {said}",
           f"want {allowed}")
    stored = place.stored(name)
    tap.ok(stored == data if said == "0" else stored is None,
           f"{what}: the object is {'whole' if said == '0' else 'absent'}",
           f"{None if stored is None else len(stored)} bytes are there")


def check_all(place):
    """Each case with a file of its own, some at once."""
    place.server.rules(*({"key": f"{n}.raw", **rule}
                         for n, case in enumerate(CASES) for rule in case[2]))
    with place.mount("memory=512M") as mount, \
            concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = [pool.submit(write_or_fail, mount.path(f"disks/{n}.raw"),
                               case[1]) for n, case in enumerate(CASES)]
        said = [result.result() for result in results]
        for n, (what, data, _, allowed) in enumerate(CASES):
            judge(place, what, said[n], allowed, f"{n}.raw", data)
        place.no_uploads("all")
        told = mount.text("control/errors")
        for n, (what, *_) in enumerate(CASES):
            if said[n] != "0":
                tap.ok(f"{n}.raw" in told, f"{what}: control/errors names it")
    place.server.rules()


# What is renamed, rules, and what rename() may say.
RENAMES = (
    ("a copy fails twice", [reply("copy", 503, "SlowDown", count=2)], GOOD),
    ("a copy fails for ever", [reply("copy", 503, "SlowDown", **EVER)], FAILS),
    ("a copy is refused", [reply("copy", 403, "AccessDenied", **EVER)],
     DENIED),
    ("a copy's error behind a 200",
     [reply("copy", 200, "AccessDenied", **EVER)], DENIED),
    ("the answer to a copy is lost", [breaks("copy", "request")], GOOD),
    ("deleting is refused", [reply("delete", 403, "AccessDenied", **EVER)],
     DENIED),
    ("the answer to deleting is lost", [breaks("delete", "request")], GOOD),
)


def check_renames(place):
    """What was there is there, under one of the two names at least."""
    for n, (what, rules, allowed) in enumerate(RENAMES):
        with place.mount() as mount:
            old, new = f"old-{n}.raw", f"new-{n}.raw"
            write(mount.path("disks/" + old), SMALL)
            place.server.rules(*({"key": "*.raw", **rule} for rule in rules))
            try:
                os.rename(mount.path("disks/" + old),
                          mount.path("disks/" + new))
                said = "0"
            except OSError as error:
                said = name_of(error.errno)
            place.server.rules()
            tap.ok(said in allowed, f"{what}: rename() says {said}",
                   f"want {allowed}")
            found = [name for name in (old, new)
                     if place.stored(name) is not None]
            tap.ok(all(place.stored(name) == SMALL for name in found) and
                   (new in found and old not in found if said == "0"
                    else old in found), f"{what}: what is there", found)
            place.no_uploads(what)


def check_expiry(place):
    """Keys that end in the middle are renewed; those that cannot are told."""
    script = os.path.join(place.top, "keys.json")

    def hand_out(access):
        with open(script + ".new", "w", encoding="utf-8") as file:
            json.dump({"Version": 1, "AccessKeyId": access,
                       "SecretAccessKey": KEYS["secret"],
                       "SessionToken": "token"}, file)
        os.rename(script + ".new", script)

    def known(access, **more):
        return {"access": access, "secret": KEYS["secret"], "token": "token",
                **more}
    config = os.path.join(place.top, "config")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"[default]\ncredential_process = cat {script}\n")
    env = environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None,
                      AWS_CONFIG_FILE=config,
                      VMIEFS_TEST_SECRETS=KEYS["secret"])
    for what, renewed, want in (("renewed", "SECOND", "0"),
                                ("not renewed", "FIRST", "EACCES")):
        place.server.keys(known("FIRST"))
        hand_out("FIRST")
        name = f"{want}.raw"
        with place.mount(env=env) as mount:
            fd = os.open(mount.path("disks/" + name),
                         os.O_CREAT | os.O_WRONLY)
            os.write(fd, LARGE[:9 * MIB])
            end = time.monotonic() + 30
            while not place.server.log(op="upload-part", status="200",
                                       key=name) and \
                    time.monotonic() < end:
                time.sleep(0.05)
            hand_out(renewed)
            place.server.keys(known("FIRST", expired=True), known("SECOND"))
            said = "0"
            for act in (lambda: os.write(fd, LARGE[9 * MIB:]),
                        lambda: os.close(fd)):
                try:
                    act()
                except OSError as error:
                    said = name_of(error.errno)
            judge(place, f"keys that are {what}", said, (want,), name, LARGE)
            # Without a key nothing can be aborted.
            hand_out("SECOND")
            place.server.keys(known("SECOND"))
        with place.mount(env=env):
            place.no_uploads(f"keys that are {what}")
    place.server.keys(KEYS)


# In a process of its own: who starts a server would pass the file on to it,
# and wait until that is closed.
WRITER = """
import errno, os, random, sys
data = random.Random(2).randbytes((20 << 20) + 7)
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(fd, data[:9 << 20])
print("begun", flush=True)
sys.stdin.readline()
said = "0"
for act in (lambda: os.write(fd, data[9 << 20:]), lambda: os.close(fd)):
    try:
        act()
    except OSError as error:
        said = errno.errorcode[error.errno]
print(said)
"""


def check_outage(place):
    """A server that is away for a while, and for good."""
    for what, timeout, allowed in (("a while", 60, GOOD),
                                   ("good", TIMEOUT, FAILS)):
        name = what.replace(" ", "-") + ".raw"
        with place.mount(timeout=timeout) as mount:
            with subprocess.Popen(
                    [sys.executable, "-c", WRITER,
                     mount.path("disks/" + name)], text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
                writer.stdout.readline()
                place.server.stop()
                print(file=writer.stdin, flush=True)
                if allowed is GOOD:
                    time.sleep(3)
                    place.server.start()
                said = writer.stdout.read().strip()
            if allowed is not GOOD:
                place.server.start()
            judge(place, f"a server that is away for {what}", said, allowed,
                  name, LARGE)
        with place.mount():
            place.no_uploads(f"a server that is away for {what}")


TWICE = random.Random(3).randbytes(20 * MIB + 7)


def check_two(place):
    """Two writers of one key, of one mount and of two."""
    with place.mount() as mount, place.mount("ttl=0") as other:
        path = mount.path("disks/two.raw")
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(fd, LARGE)
        tap.same(write_or_fail(path, TWICE), "EBUSY", "a second writer of the "
                 "same mount")
        os.close(fd)
        tap.ok(place.stored("two.raw") == LARGE, "the first one's is there")
    # Without the right to replace.
    options = tuple(o for o in place.options if o != "overwrite")
    place.options, kept = options, place.options
    with place.mount() as mount, place.mount() as other:
        for conditions in "honoured", "ignored":
            name = f"{conditions}.raw"
            if conditions == "ignored":
                place.server.rules({"do": "conditions", "as": "ignored",
                                    **EVER})
            barrier = threading.Barrier(2)

            def one(where, data, name=name, barrier=barrier):
                fd = os.open(where.path("disks/" + name),
                             os.O_CREAT | os.O_WRONLY)
                os.write(fd, data)
                barrier.wait()
                try:
                    os.close(fd)
                    return "0"
                except OSError as error:
                    return name_of(error.errno)
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                jobs = [pool.submit(one, mount, LARGE),
                        pool.submit(one, other, TWICE)]
                said = [job.result() for job in jobs]
            stored = place.stored(name)
            tap.ok(stored in (LARGE, TWICE),
                   f"conditions {conditions}: one of two daemons' is there")
            # What ignores conditions may let both of them in.
            allowed = [["0", "EEXIST"]] + \
                ([["0", "0"], ["0", "ESTALE"]] if conditions == "ignored"
                 else [])
            tap.ok(sorted(said) in allowed, f"conditions {conditions}: the "
                   f"writers hear {said}", f"want {allowed}")
            if sorted(said) != ["0", "0"]:
                tap.ok(stored == (LARGE, TWICE)[said.index("0")],
                       "whose close() said so")
            place.no_uploads(f"conditions {conditions}")
        place.server.rules()
    place.options = kept


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        place = Place(top)
        with place.server:
            check_all(place)
            check_renames(place)
            check_expiry(place)
            check_outage(place)
            check_two(place)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
