#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""find_secrets.py, by which tests of mounts show that no secret can be seen,
finds one wherever it looks, however it is written."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402

SECRET = "odd/secret+key=with every \"kind\"/000"
TOKEN = "FwoGZXIvYXdzEBY/token+of/a=session=="
LISTED = "X0Y0Z0-one-of-a-list"
URL = "https://host/x?X-Amz-Date=1&X-Amz-Signature=0123456789abcdef"
FORMS = (
    ("as it is", SECRET),
    ("in a URL", urllib.parse.quote(SECRET, safe="")),
    ("in a URL, small letters", urllib.parse.quote(
        SECRET, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace(
            "%3D", "%3d")),
    ("in a form", urllib.parse.quote_plus(SECRET, safe="/")),
    ("in JSON", json.dumps({"a": SECRET})),
    ("in JSON of others", json.dumps(SECRET).replace("/", "\\/")),
    ("in Base64", base64.b64encode(SECRET.encode()).decode()),
    ("in Base64 with more", base64.b64encode(
        f"AKIA:{SECRET}:and more".encode()).decode()),
    ("in Base64 with still more", base64.b64encode(
        f"key:{SECRET}".encode()).decode()),
    ("in Base64 of URLs", base64.urlsafe_b64encode(
        f"x{SECRET}".encode()).decode()),
    ("the session's token", TOKEN),
    ("another one", LISTED),
    ("a presigned URL", URL),
)
CLEAN = ("AKIAEXAMPLE signs for https://host/x?X-Amz-Date=1 (query not shown);"
         " odd/secret is no name, X-Amz-Signature= is empty\n")


def find(top, pid, *files):
    """What it prints."""
    env = {"PATH": os.environ["PATH"], "AWS_SECRET_ACCESS_KEY": SECRET,
           "AWS_SESSION_TOKEN": TOKEN, "VMIEFS_TEST_SECRETS": f"\n{LISTED}\n"}
    return subprocess.run(
        [sys.executable, os.path.join(HERE, "find_secrets.py"), top, str(pid),
         *files], env=env, check=True, stdout=subprocess.PIPE,
        text=True).stdout


def write(path, text):
    """A file with a text; its path."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def check_forms(top, log):
    """In a log, in every form."""
    own = os.getpid()
    for what, text in FORMS:
        write(log, f"{CLEAN}debug: {text}\n{CLEAN}")
        found = find(top, own, log)
        tap.ok(found.startswith(f"{log}: ") and found.count("\n") == 1 and
               SECRET not in found, what, found)
        write(log, CLEAN + text[:-5] if what == "as it is" else CLEAN)
        tap.same(find(top, own, log), "", "and nothing without it")


def check_places(top, log):
    """In all places."""
    own = os.getpid()
    stats = write(os.path.join(top, "control/stats"), f'{{"a": "{LISTED}"}}')
    tap.same(find(top, own, log), f"{stats}: a secret\n", "a control file")
    write(stats, "{}")
    with subprocess.Popen([sys.executable, "-c", "input()", TOKEN],
                          stdin=subprocess.PIPE) as process:
        tap.same(find(top, process.pid, log),
                 f"/proc/{process.pid}/cmdline: a secret\n",
                 "a process's command line")
        process.communicate(b"\n")
    tap.ok("there is no process" in find(top, process.pid, log),
           "a process that has ended is none without secrets")
    disk = write(os.path.join(top, "disks/a.raw"), "")
    try:
        os.setxattr(disk, "user.vmiefs.source", URL.encode())
    except OSError:
        tap.skip("an attribute", "no attributes here")
        return
    tap.ok(find(top, own, log).startswith(f"{disk} user.vmiefs.source: X-Amz-"),
           "an attribute")


def main():
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        for name in ("control", "disks"):
            os.mkdir(os.path.join(top, name))
        log = write(os.path.join(top, "log"), CLEAN)
        check_forms(top, log)
        check_places(top, log)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
