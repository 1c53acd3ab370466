# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Where the tests of writing have their objects: a directory, or a bucket of
the server that VMIEFS_TEST_STORE names (tests/s3/store.sh)."""

import itertools
import os
import shutil
import sys
import tempfile

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(TESTS, "s3"))
import put  # noqa: E402

_numbers = itertools.count(1)


def kind():
    """What VMIEFS_TEST_STORE says, "" for directories."""
    return os.environ.get("VMIEFS_TEST_STORE", "")


def start():
    """Have the server run: the test begins again with its address."""
    if kind() and "VMIEFS_TEST_SERVER" not in os.environ:
        os.execvp("bash", ["bash", os.path.join(TESTS, "s3/with-server.sh"),
                           sys.executable, *sys.argv])


def new():
    """A store without objects."""
    return Bucket() if kind() else Directory()


class Directory:
    """A directory: the caller's, or one that goes with it."""

    is_remote = False
    options = []

    def __init__(self, path=None):
        self.own = None if path else tempfile.mkdtemp(prefix="vmiefs-test.")
        self.source = path or self.own
        os.makedirs(self.source, exist_ok=True)

    def names(self):
        """Of all objects, hidden ones too."""
        return sorted(os.path.relpath(os.path.join(top, name), self.source)
                      for top, _, names in os.walk(self.source)
                      for name in names)

    def path(self, name):
        """A file with the object's present bytes, to be read."""
        return os.path.join(self.source, name)

    def exists(self, name):
        """Is there such an object?"""
        return os.path.exists(self.path(name))

    def remove(self, name):
        """Delete an object."""
        os.unlink(self.path(name))

    def write(self, name, data):
        """Make an object."""
        with open(self.path(name), "wb") as file:
            file.write(data)

    def uploads(self):
        """The keys of part uploads that are open."""
        return []

    def drop(self):
        """Delete all."""
        if self.own:
            shutil.rmtree(self.own)


class Bucket:
    """A bucket of its own, which mounts reach by `options`."""

    is_remote = True

    def __init__(self):
        plain, host, tls, bundle = os.environ["VMIEFS_TEST_SERVER"].split()
        self.options = {
            "rgw-tls": [f"endpoint={tls}", f"ca-bundle={bundle}"],
            "rgw-virtual": [f"endpoint={host}", "addressing=virtual"],
        }.get(kind(), [f"endpoint={plain}", "addressing=path"])
        self.copies = tempfile.mkdtemp(prefix="vmiefs-test.")
        # What a mount has to remember beyond its end is there.
        self.scratch = os.path.join(self.copies, "scratch")
        os.mkdir(self.scratch)
        self.options.append("scratch=" + self.scratch)
        self.name = f"vmiefs-test-{os.getpid()}-p{next(_numbers)}"
        self.source = "s3://" + self.name
        self.client = put.Client(plain)
        self.client.make_bucket(self.name)

    def names(self):
        """Of all objects."""
        return sorted(self.client.keys_of(self.name))

    def path(self, name):
        """A copy of the object."""
        copy = os.path.join(self.copies, "copy", name)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        self.client.fetch(self.name, name, copy)
        return copy

    def exists(self, name):
        """Is there such an object?"""
        return name in self.names()

    def remove(self, name):
        """Delete an object."""
        self.client.ask("DELETE", f"/{self.name}/{name}")

    def write(self, name, data):
        """Make an object."""
        self.client.ask("PUT", f"/{self.name}/{name}", body=data)

    def uploads(self):
        """The keys of part uploads that are open."""
        return [key for key, _ in self.client.uploads_of(self.name)]

    def drop(self):
        """Delete all."""
        put.drop(self.client, self.name)
        shutil.rmtree(self.copies)
