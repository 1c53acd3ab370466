#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What a server may do to a file that is written into the mount, or renamed:
of each fault, what close() or rename() says, that the object is whole or
absent accordingly, and that no part upload is left. With VMIEFS_TEST_STORE
over a real server, which has done its part of the work when the connection to
it is lost."""

import concurrent.futures
import errno
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
import places  # noqa: E402
import export  # noqa: E402
from control import KEYS  # noqa: E402
from mounted import environment  # noqa: E402

MIB = 1 << 20
SMALL = random.Random(1).randbytes(3 * MIB)      # one PUT
LARGE = random.Random(2).randbytes(20 * MIB + 7)  # three parts
EVER = {"count": None}
GOOD = ("0",)
FAILS = ("EIO", "ETIMEDOUT")
DENIED = ("EACCES",)
TIMEOUT = 3  # seconds of store-timeout where it is to pass
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
      for op in ("put", "create-upload", "complete-upload")
      for where in PLACES),
    *((f"part {number} breaks at {where}", LARGE,
       [breaks("upload-part", where, query=f"partNumber={number}(&|$)")], GOOD)
      for number in (1, 2, 3) for where in PLACES),
    # Swift says so of an upload that is complete: the other one is to go.
    ("beginning it is lost, and it is unknown by another name",
     LARGE, [breaks("create-upload", "request"),
             reply("abort-upload", 404, "NoSuchKey")], GOOD),
    # When it is opened, before it is sent, and when it is there.
    *((f"look {nth} breaks at {where}", data,
       [breaks("head", where, nth=nth)], GOOD)
      for nth, data in ((1, SMALL), (2, SMALL), (3, SMALL), (3, LARGE))
      for where in PLACES if where != "body"),
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


def mount_for(allowed, patient, hasty):
    """What is to fail in the end need not take long."""
    return hasty if allowed is FAILS else patient


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
    with place.mount("memory=256M") as patient, \
            place.mount("memory=256M", timeout=TIMEOUT) as hasty, \
            concurrent.futures.ThreadPoolExecutor(8) as pool:
        mounts = [mount_for(allowed, patient, hasty)
                  for _, _, _, allowed in CASES]
        results = [pool.submit(write_or_fail, mount.path(f"disks/{n}.raw"),
                               case[1])
                   for n, (mount, case) in enumerate(zip(mounts, CASES))]
        said = [result.result() for result in results]
        for n, (what, data, _, allowed) in enumerate(CASES):
            judge(place, what, said[n], allowed, f"{n}.raw", data)
        place.no_uploads("all")
        for n, (what, *_) in enumerate(CASES):
            if said[n] != "0":
                tap.ok(f"{n}.raw" in mounts[n].text("control/errors"),
                       f"{what}: control/errors names it")
    place.server.rules()


# What is renamed, rules, and what rename() may say.
RENAMES = (
    ("a copy fails twice", [reply("copy", 503, "SlowDown", count=2)], GOOD),
    ("a copy fails for ever", [reply("copy", 503, "SlowDown", **EVER)], FAILS),
    ("a copy is refused", [reply("copy", 403, "AccessDenied", **EVER)],
     DENIED),
    ("a copy's error behind a 200",
     [reply("copy", 200, "AccessDenied", **EVER)], DENIED),
    *((f"a copy breaks at {where}", [breaks("copy", where)], GOOD)
      for where in PLACES if where != "body"),
    ("deleting is refused", [reply("delete", 403, "AccessDenied", **EVER)],
     DENIED),
    ("the answer to deleting is lost", [breaks("delete", "request")], GOOD),
)


def check_rename(place, mount, old, new):
    """Under the new name if rename() says so, else under the old one at
    least, and whole wherever it is: what rename() says."""
    said = name_of(export.errno_of(os.rename, mount.path("disks/" + old),
                                   mount.path("disks/" + new)))
    place.server.rules()
    stored = {name: place.stored(name) for name in (old, new)}
    found = [name for name, data in stored.items() if data is not None]
    tap.ok(all(stored[name] == SMALL for name in found) and
           (found == [new] if said == "0" else old in found),
           f"{old}: what is there", found)
    return said


def check_renames(place):
    """Faults of copying and deleting."""
    with place.mount() as patient, place.mount(timeout=TIMEOUT) as hasty:
        for n, (what, rules, allowed) in enumerate(RENAMES):
            mount = mount_for(allowed, patient, hasty)
            old, new = f"old-{n}.raw", f"new-{n}.raw"
            write(mount.path("disks/" + old), SMALL)
            place.server.rules(*({"key": "*.raw", **rule} for rule in rules))
            said = check_rename(place, mount, old, new)
            tap.ok(said in allowed, f"{what}: rename() says {said}",
                   f"want {allowed}")
        place.no_uploads("renaming")


# An OVA, made of a disk that the server copies: rules, and what the rename
# may say.
ASSEMBLIES = (
    *((f"{op} breaks at {where}", [breaks(op, where)], GOOD)
      for op, wheres in (("upload-part-copy", PLACES),
                         ("complete-upload", ("request",)))
      for where in wheres if where != "body"),
    ("a copied part fails twice",
     [reply("upload-part-copy", 503, "SlowDown", count=2)], GOOD),
    ("a copied part's error behind a 200",
     [reply("upload-part-copy", 200, "AccessDenied", **EVER)], DENIED),
    ("a copied part fails for ever",
     [reply("upload-part-copy", 500, "InternalError", **EVER)], FAILS),
    ("a copied part is refused",
     [reply("upload-part-copy", 403, "AccessDenied", **EVER)], DENIED),
)


def check_assembly(place):
    """Those, and that another try is good."""
    with place.mount() as patient, place.mount(timeout=TIMEOUT) as hasty:
        for n, (what, rules, allowed) in enumerate(ASSEMBLIES):
            mount = mount_for(allowed, patient, hasty)
            name = f"{n}.ova"
            part, whole = (mount.path(f"disks/{name}{end}")
                           for end in (".part", ""))
            os.mkdir(part)
            write(part + "/d.vmdk.raw", LARGE)
            place.server.rules(*({"key": name, **rule} for rule in rules))
            said = name_of(export.errno_of(os.rename, part, whole))
            place.server.rules()
            tap.ok(said in allowed, f"{what}: rename() says {said}",
                   f"want {allowed}")
            if said != "0":
                tap.ok(place.stored(name) is None, f"{what}: nothing is there")
                os.rename(part, whole)
            with open(whole + "/d.vmdk.raw", "rb") as disk:
                tap.ok(disk.read(len(LARGE)) == LARGE,
                       f"{what}: the OVA's disk")
            check_manifest(place.stored(name), what)
        place.no_uploads("assembly")


def check_manifest(data, what):
    """The digests of an OVA are right."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        digests = {member.name: hashlib.sha256(
            tar.extractfile(member).read()).hexdigest() for member in tar}
        manifest, = (n for n in digests if n.endswith(".mf"))
        lines = tar.extractfile(manifest).read().decode().splitlines()
    tap.same(sorted(lines), sorted(
        f"SHA256({name})= {digest}" for name, digest in digests.items()
        if name != manifest), f"{what}: its manifest")


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
        name = f"keys-{want}.raw"
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
            place.no_uploads(f"keys that are {what}", env)
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
    with place.mount("overwrite") as mount:
        path = mount.path("disks/two.raw")
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(fd, LARGE)
        tap.same(write_or_fail(path, TWICE), "EBUSY", "a second writer of the "
                 "same mount")
        os.close(fd)
        tap.ok(place.stored("two.raw") == LARGE, "the first one's is there")
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
                ([["0", "0"], ["0", "ESTALE"]]
                 if conditions == "ignored" or not place.heeds_conditions
                 else [])
            tap.ok(sorted(said) in allowed, f"conditions {conditions}: the "
                   f"writers hear {said}", f"want {allowed}")
            if sorted(said) != ["0", "0"]:
                tap.ok(stored == (LARGE, TWICE)[said.index("0")],
                       "whose close() said so")
            place.no_uploads(f"conditions {conditions}")
        place.server.rules()


def main():
    places.begin()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        place = places.new_place(top)
        with place.server:
            check_all(place)
            check_renames(place)
            check_assembly(place)
            check_expiry(place)
            check_outage(place)
            check_two(place)
        place.drop()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
