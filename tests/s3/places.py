# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Buckets whose server does what rules say, for tests of faults: of the
scripted server, or of the real one that VMIEFS_TEST_STORE names, with the
scripted one in front of it."""

import os
import sys
import time

import tap
from control import Server
from mounted import Mount, need_mounts, run

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fs"))
# pylint: disable=wrong-import-position
import stores  # noqa: E402


class Place:
    """A bucket and a server, which the caller stops; `source` and `options`
    are what a mount needs, `heeds_conditions` says whether two who make the
    same object never both succeed."""

    def __init__(self, top, source, server):
        self.top, self.source, self.server = top, source, server
        self.scratch = os.path.join(top, "scratch")
        os.mkdir(self.scratch)
        self.options = ("endpoint=" + server.url(), "addressing=path",
                        f"scratch={self.scratch}", "delete")

    def mount(self, *options, timeout=60, **more):
        """A mount of it."""
        return Mount(self.top, self.source, *self.options, *options,
                     f"store-timeout={timeout}", **more)

    def no_uploads(self, what, env=None):
        """None is open before long: two checks."""
        end = time.monotonic() + 60
        while self.uploads() and time.monotonic() < end:
            time.sleep(0.1)
        tap.same(self.uploads(), [], f"{what}: no part upload is left")
        status, said, _ = run("vmiefs", "uploads", self.source,
                              "--endpoint=" + self.server.url(),
                              "--addressing=path", env=env)
        tap.ok(status == 0 and said.startswith("0 uploads of parts"),
               f"{what}: nor does vmiefs uploads find one", said)


class ScriptedPlace(Place):
    """One of the scripted server alone."""

    heeds_conditions = True

    def __init__(self, top):
        self.root = os.path.join(top, "root")
        os.makedirs(os.path.join(self.root, "one"))
        super().__init__(top, "s3://one", Server(self.root))

    def stored(self, name):
        """The bytes of an object, None where there is none."""
        try:
            with open(os.path.join(self.root, "one", name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def uploads(self):
        """The keys of part uploads that are open."""
        return [u["key"] for u in self.server.uploads()]

    def drop(self):
        """It goes with the directory."""


class RealPlace(Place):
    """One of a real server, which the mount reaches through the scripted one
    only; what is there is asked for past it."""

    heeds_conditions = False

    def __init__(self, top):
        self.store = stores.Bucket()
        root = os.path.join(top, "root")
        os.mkdir(root)
        super().__init__(top, self.store.source, Server(
            root, f"--upstream=http://{self.store.client.host}"))

    def stored(self, name):
        """The bytes of an object, None where there is none."""
        if not self.store.exists(name):
            return None
        return self.store.client.get(self.store.name, name)

    def uploads(self):
        """The keys of part uploads that are open."""
        return self.store.uploads()

    def drop(self):
        """Delete all."""
        self.store.drop()


def begin():
    """Skip the whole test where nothing can be mounted; begin it again with
    its server, where it is to have one."""
    need_mounts()
    stores.start()


def new_place(top):
    """A Place with all its files below `top`."""
    return RealPlace(top) if stores.kind() else ScriptedPlace(top)
