# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What a case of the credentials tests is made of: a home directory of its
own, an environment without AWS variables, and credcat's answers."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402

CREDCAT = os.path.join(os.environ.get("top_builddir", "."),
                       "tests/tools/credcat")
# For runs under valgrind.
WRAPPER = os.environ.get("CREDCAT_WRAPPER", "").split()


class Case:
    """files: {name below ~/.aws: text}; variables: the environment's."""

    def __init__(self, files=None, **variables):
        # pylint: disable=consider-using-with
        self.home = tempfile.TemporaryDirectory()
        self.env = {"HOME": self.home.name, "PATH": os.environ["PATH"],
                    "AWS_EC2_METADATA_DISABLED": "true", **variables}
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        for name, text in (files or {}).items():
            self.write(name, text)

    def path(self, name):
        """Of a file below ~/.aws."""
        return os.path.join(self.home.name, ".aws", name)

    def write(self, name, text):
        """A file below ~/.aws, replaced at once."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path)
        return path

    def start(self, *words):
        """credcat, running."""
        return subprocess.Popen(
            WRAPPER + [CREDCAT, *words], env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def run(self, *words):
        """(status, lines); fails a check where a secret shows."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=120)
        return check_output(process.returncode, out, err, words)

    def gives(self, want, what, *words):
        """`get` prints this (without the time left)."""
        status, lines = self.run(*words, "get")
        row = lines[-1].split("\t") if lines else []
        left = row.pop(2) if len(row) > 4 else None
        tap.same((status, row), (0, want), what)
        return left

    def says(self, want, what, *words):
        """It fails with an error that has these parts, in one line."""
        status, lines = self.run(*words, "get")
        want = [want] if isinstance(want, str) else want
        text = lines[-1] if lines else ""
        tap.ok(status == 1 and all(part in text for part in want), what,
               f"status {status}, {text}\nwant: {want}")


def check_output(status, out, err, words):
    """(status, lines) of a run that has ended well."""
    shown = (out + err).replace("AWS_SECRET_ACCESS_KEY", "")
    if "SECRET" in shown or status not in (0, 1) or "ERROR" in err or \
            "WARNING: T" in err:
        tap.ok(False, f"credcat {' '.join(words)}: no secret, no crash",
               f"status {status}\n{out}\n{err}")
    return status, out.splitlines()
