#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Part uploads that a daemon leaves behind when it is killed are gone after
the next mount, whatever it had done of them; those of the living are left
alone; and a store that does not answer is asked again."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from client import Client  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts, run  # noqa: E402

MIB = 1 << 20
# Failures are tried again after 5 seconds and more.
PATIENCE = 60  # seconds


def wait_for(test, what):
    """One check: it holds before long."""
    end = time.monotonic() + PATIENCE
    while not test() and time.monotonic() < end:
        time.sleep(0.05)
    return tap.ok(test(), what)


class Place:
    """A server, and mounts of its bucket that share a scratch directory."""

    def __init__(self, top):
        self.top = top
        self.scratch = os.path.join(top, "scratch")
        os.mkdir(self.scratch)
        root = os.path.join(top, "root")
        os.makedirs(os.path.join(root, "one"))
        self.server = Server(root)
        self.mounts = []

    def mount(self, *options, **more):
        """A new mount of the bucket."""
        mount = Mount(self.top, "s3://one", f"endpoint={self.server.url()}",
                      f"scratch={self.scratch}", *options, **more)
        self.mounts.append(mount)
        return mount

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for mount in self.mounts:
            if os.path.ismount(mount.dir):
                mount.__exit__(RuntimeError)
        self.server.stop()

    def journals(self):
        """Names of those that are there."""
        return sorted(os.listdir(self.scratch))

    def forget(self):
        """Remove what journals there are; a daemon may be at that, too."""
        for name in self.journals():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.scratch, name))

    def ids(self, key=None):
        """Ids of the uploads that are open."""
        return sorted(u["id"] for u in self.server.uploads()
                      if key in (None, u["key"]))


def write_some(mount, name, size=40 * MIB):
    """Begin an object and do not end it: the open file."""
    # pylint: disable=consider-using-with
    file = open(mount.path(f"objects/{name}"), "wb", buffering=0)
    block = os.urandom(MIB)
    for _ in range(size // MIB):
        file.write(block)
    return file


def kill(mount, *files, how=signal.SIGKILL):
    """Kill the daemon; what was open in it is closed."""
    os.kill(int(mount.pid), how)
    for file in files:
        try:
            file.close()
        except OSError:
            pass
    while os.path.exists(f"/proc/{mount.pid}"):
        time.sleep(0.01)
    if how == signal.SIGKILL:
        mount.__exit__(RuntimeError)


def stats(mount):
    """What control/stats says of uploads."""
    return json.loads(mount.text("control/stats"))["store"]["uploads"]


def check_ended(place):
    """Without accident nothing is left."""
    with place.mount() as mount:
        with write_some(mount, "good"):
            wait_for(place.ids, "an upload is open")
            tap.same(stats(mount)["open"], 1, "and known to be")
            tap.same(len(place.journals()), 1, "its intent is on disk")
        tap.same(place.ids(), [], "complete")
        tap.same(stats(mount)["open"], 0, "and over")
    wait_for(lambda: not place.journals(), "no journal is left")


def check_killed(place):
    """Killed with two uploads on their way."""
    mount = place.mount()
    files = [write_some(mount, "ü a+"), write_some(mount, "b")]
    wait_for(lambda: len(place.ids()) == 2, "two uploads are open")
    kill(mount, *files)
    tap.same((len(place.ids()), len(place.journals())), (2, 1),
             "left behind")
    with place.mount() as mount:
        wait_for(lambda: not place.ids(), "gone after the next mount")
        wait_for(lambda: not place.journals(), "and so is the journal")
        tap.same(stats(mount)["aborted"], 2, "as control/stats tells")
        tap.same([os.path.exists(mount.path(f"objects/{n}"))
                  for n in ("ü a+", "b")], [False, False], "no objects")
    with open(mount.log, encoding="utf-8") as file:
        tap.same(file.read().count("aborted an upload"), 2, "and the log")


def check_ended_meanwhile(place):
    """Ended by a signal in the middle of an upload, aborting it fails."""
    place.server.rules({"do": "reset", "op": "abort-upload", "count": None,
                        "at": "read"})
    mount = place.mount()
    file = write_some(mount, "ended")
    wait_for(place.ids, "an upload is open")
    kill(mount, file, how=signal.SIGTERM)
    tap.same((len(place.ids()), len(place.journals())), (1, 1),
             "left behind by a mount that was ended")
    place.server.rules()
    with place.mount():
        wait_for(lambda: not place.ids(), "and gone after the next")
        wait_for(lambda: not place.journals(), "with its journal")


def check_before_id(place):
    """Killed while the server was asked to begin: nobody knows the id."""
    client = Client(place.server)
    other = client.begin("/one/x.other")
    for rule in ({"do": "stall", "at": "request"},
                 {"do": "reset", "at": "request"}):
        place.server.rules({**rule, "op": "create-upload", "count": None})
        mount = place.mount()
        pid = os.fork()
        if not pid:
            try:
                write_some(mount, "x")
            finally:
                os._exit(0)  # pylint: disable=protected-access
        wait_for(lambda: place.ids("x"), f"begun: {rule['do']}")
        kill(mount)
        os.waitpid(pid, 0)
        place.server.rules()
        with place.mount():
            wait_for(lambda: not place.ids("x"), "found by its key")
        tap.same(place.ids(), [other], "another key's is left alone")
    client.abort("/one/x.other", other)
    place.forget()


def check_living(place):
    """Two mounts; one dies. What the other writes, under the same key, too,
    is not disturbed by whoever clears up."""
    dead, living = place.mount(), place.mount()
    kept = write_some(living, "same")
    wait_for(lambda: len(place.ids()) == 1, "the living writes")
    ours = place.ids()
    place.server.rules({"do": "reset", "op": "create-upload", "count": None,
                        "at": "request"})
    pid = os.fork()
    if not pid:
        try:
            write_some(dead, "same")
        finally:
            os._exit(0)  # pylint: disable=protected-access
    wait_for(lambda: len(place.ids()) > 1, "so does the dead")
    kill(dead)
    os.waitpid(pid, 0)
    place.server.rules()
    with place.mount() as mount:
        wait_for(lambda: place.ids() == ours, "only the dead's are gone")
        kept.write(b"end")
        kept.close()
        tap.same(os.path.getsize(mount.path("objects/same")),
                 40 * MIB + 3, "the other's is whole")
    with living:
        pass
    tap.same(place.ids(), [], "nothing is open")
    place.forget()


def check_down(place):
    """The store refuses at first; the mount does not wait for it."""
    mount = place.mount()
    file = write_some(mount, "down")
    wait_for(place.ids, "an upload is open")
    kill(mount, file)
    place.server.rules({"do": "reply", "op": "abort-upload", "status": 403,
                        "code": "AccessDenied", "count": 1})
    with place.mount() as mount:
        tap.ok(os.path.isdir(mount.path("objects")), "it is mounted")
        wait_for(lambda: stats(mount)["failed"], "aborting fails")
        tap.ok("AccessDenied" in stats(mount)["last_failure"],
               "and control/stats says why", stats(mount))
        wait_for(lambda: not place.ids(), "tried again")
        wait_for(lambda: not place.journals(), "and done")


def lists(mount):
    """Can the bucket be listed?"""
    try:
        return os.listdir(mount.path("objects")) is not None
    except OSError:
        return False


def check_outage(place):
    """The server goes away as soon as it is mounted, before anything could be
    aborted: the mount is of use when it is back, and aborts then."""
    mount = place.mount()
    file = write_some(mount, "away")
    wait_for(place.ids, "an upload is open")
    kill(mount, file)
    dead = place.journals()
    place.server.rules({"do": "reset", "op": "abort-upload", "at": "head",
                        "count": None})
    with place.mount("store-timeout=2", "ttl=0") as mount:
        place.server.stop()
        wait_for(lambda: stats(mount)["failed"], "aborting fails")
        tap.ok(not lists(mount), "so does all else, and nothing hangs")
        place.server.start()
        tap.same(len(place.ids()), 1, "the upload is still there")
        wait_for(lambda: lists(mount), "what is asked next is answered")
        write_some(mount, "next").close()
        tap.same(os.path.getsize(mount.path("objects/next")), 40 * MIB,
                 "a new object can be written")
        wait_for(lambda: not place.ids("away"), "the upload is aborted")
        # The mount has a journal of its own now.
        wait_for(lambda: dead and not set(dead) & set(place.journals()),
                 "and struck out")


def check_given_up(place):
    """An upload that its own mount could not abort."""
    with place.mount() as mount:
        file = write_some(mount, "given-up")
        wait_for(place.ids, "an upload is open")
        place.server.rules(
            {"do": "reply", "op": "upload-part", "status": 403,
             "code": "AccessDenied", "count": None},
            {"do": "reply", "op": "abort-upload", "status": 403,
             "code": "AccessDenied", "count": 1})
        try:
            for _ in range(40):
                file.write(bytes(MIB))
            file.close()
            failed = False
        except OSError:
            failed = True
        tap.ok(failed, "the writer is told")
        try:
            file.close()
        except OSError:
            pass
        wait_for(lambda: not place.ids(), "aborted later")
        wait_for(lambda: not stats(mount)["left"], "and struck out")
        place.server.rules()


def check_lost_answer(place):
    """The answer to the first request is lost, and so is the upload that it
    began: the mount that began it finds it."""
    place.server.rules({"do": "reset", "op": "create-upload",
                        "at": "request"})
    with place.mount() as mount:
        file = write_some(mount, "twice")
        wait_for(lambda: len(place.ids()) == 2, "two uploads were begun")
        file.close()
        wait_for(lambda: not place.ids(), "none is left")
        tap.same(os.path.getsize(mount.path("objects/twice")), 40 * MIB,
                 "the object is whole")
    place.forget()


def check_torn(place):
    """A journal with a torn end, and what is none."""
    name = Client(place.server).begin("/one/torn")
    now = int(time.time())
    with open(os.path.join(place.scratch, "uploads-torn"), "w",
              encoding="ascii") as file:
        file.write(json.dumps({
            "begin": 1, "server": place.server.url(), "bucket": "one",
            "key": "torn", "time": now - 200, "within": 300}) +
            '\n{"id":1,"uplo')
    with open(os.path.join(place.scratch, "uploads-none"), "wb") as file:
        file.write(os.urandom(5000) + b"\n")
    with open(os.path.join(place.scratch, "uploads-other"), "w",
              encoding="ascii") as file:
        file.write(json.dumps({
            "begin": 1, "server": "https://elsewhere", "bucket": "one",
            "key": "torn", "time": now, "within": 300}) + "\n")
    with place.mount():
        wait_for(lambda: name not in place.ids(), "a torn journal serves")
        wait_for(lambda: place.journals() == ["uploads-other"],
                 "one of another store stays")


def check_command(place):
    """vmiefs uploads --abort leaves alone what a living mount works on."""
    Client(place.server).begin("/one/orphan")
    with place.mount() as mount:
        file = write_some(mount, "busy")
        wait_for(lambda: place.ids("busy"), "an upload is open")
        time.sleep(2)
        status, said, _ = run(
            "vmiefs", "uploads", "s3://one", "--abort", "--older-than=1",
            "--json", f"--endpoint={place.server.url()}",
            f"--scratch={place.scratch}")
        tap.ok(not status, "the command", said)
        tap.same({row["key"]: (row["in_use"], row["aborted"])
                  for row in json.loads(said)["uploads"]},
                 {"busy": (True, False), "orphan": (False, True)},
                 "sees which of two is in use")
        file.close()
        tap.same(os.path.getsize(mount.path("objects/busy")), 40 * MIB,
                 "whose object is whole")
    tap.same(place.ids(), [], "nothing is open")


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        with Place(top) as place:
            check_ended(place)
            check_killed(place)
            check_ended_meanwhile(place)
            check_before_id(place)
            check_living(place)
            check_down(place)
            check_outage(place)
            check_given_up(place)
            check_lost_answer(place)
            check_torn(place)
            check_command(place)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
