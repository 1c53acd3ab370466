# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Mounts of buckets for tests in Python; at the end of each, nothing that can
be seen of it holds a secret."""

import itertools
import os
import subprocess
import sys
import time

import tap
from control import KEYS

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
_numbers = itertools.count(1)


def environment(**more):
    """Ours without what the SDKs look at, and with KEYS."""
    env = {n: v for n, v in os.environ.items() if not n.startswith("AWS_")}
    env.update({"AWS_ACCESS_KEY_ID": KEYS["access"],
                "AWS_SECRET_ACCESS_KEY": KEYS["secret"],
                "AWS_CONFIG_FILE": "/dev/null",
                "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
                "AWS_EC2_METADATA_DISABLED": "true"})
    env.update(more)
    return {n: v for n, v in env.items() if v is not None}


def need_mounts():
    """Skip the whole test where nothing can be mounted."""
    tap.need("fusermount3", "setpriv", "pgrep")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        tap.skip_all("/dev/fuse does not open")


def run(*words, env=None, timeout=60, cwd=None, text=""):
    """Run a program of the build, with a text as its standard input:
    (status, output, seconds it took)."""
    begin = time.monotonic()
    done = subprocess.run(
        [os.path.join(BUILD, words[0]), *words[1:]], text=True, check=False,
        env=env or environment(), timeout=timeout, cwd=cwd, input=text,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    return done.returncode, done.stdout, time.monotonic() - begin


class Mount:
    """A mounted source; RuntimeError where that fails."""

    def __init__(self, top, source, *options, env=None, level="debug",
                 cwd=None, text="", program="vmiefs"):
        number = next(_numbers)
        self.dir = os.path.join(top, f"mnt-{number}")
        self.log = os.path.join(top, f"log-{number}")
        self.env = env or environment()
        os.mkdir(self.dir)
        status, said, _ = run(program, source, self.dir, "--log", self.log,
                              *(w for o in options for w in ("-o", o)),
                              env=self.env, cwd=cwd, text=text)
        if status:
            raise RuntimeError(f"vmiefs {source}: {said}")
        found = subprocess.run(["pgrep", "-f", f"{self.dir}( |$)"],
                               capture_output=True, text=True, check=False)
        self.pid = found.stdout.split()[0]
        with open(self.path("control/log-level"), "w",
                  encoding="utf-8") as file:
            file.write(level)

    def path(self, name):
        """A path below the mount point."""
        return os.path.join(self.dir, name)

    def text(self, name):
        """What a file of the mount holds."""
        with open(self.path(name), encoding="utf-8",
                  errors="replace") as file:
            return file.read()

    def memory(self):
        """Peak of the daemon's memory in MiB."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            line, = (line for line in file if line.startswith("VmHWM:"))
        return int(line.split()[1]) >> 10

    def check_memory(self, limit):
        """It stayed below so many MiB: one check."""
        name = f"memory below {limit} MiB"
        print(f"# memory: {self.memory()} MiB")
        if tap.is_sanitized():
            tap.skip(name, "built with a sanitizer")
        else:
            tap.ok(self.memory() < limit, name, f"{self.memory()} MiB")

    def check_secrets(self):
        """No secret can be seen: one check."""
        found = subprocess.run(
            [sys.executable, os.path.join(HERE, "find_secrets.py"), self.dir,
             self.pid, self.log], capture_output=True, text=True, check=False,
            env=self.env)
        tap.same(found.stdout + found.stderr, "", "no secret can be seen")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.check_secrets()
        finally:
            subprocess.run(["fusermount3", "-u", "-z", self.dir], check=False)
