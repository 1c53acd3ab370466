# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""storecat in Python: a store, asked command by command."""

import collections
import os
import subprocess
import urllib.parse

from control import KEYS

STORECAT = os.path.join(os.environ.get("top_builddir", "."),
                        "tests/tools/storecat")
# Of an error, kind to text; of success, only the last line and those above.
Answer = collections.namedtuple(
    "Answer", "ok text lines kind status code attempts",
    defaults=(None, None, None, None))


def environment(**more):
    """Without a trace of the caller's own credentials and proxies."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith("AWS_") and
           not name.lower().endswith("_proxy")}
    env.update(AWS_EC2_METADATA_DISABLED="true",
               AWS_CONFIG_FILE="/nonexistent",
               AWS_SHARED_CREDENTIALS_FILE="/nonexistent",
               AWS_ACCESS_KEY_ID=KEYS["access"],
               AWS_SECRET_ACCESS_KEY=KEYS["secret"])
    env.update(more)
    return {name: value for name, value in env.items() if value is not None}


class Cat:
    """Cat(source, option...) opens it; `first` is the answer to that."""

    def __init__(self, source, *options, **env):
        words = [word for option in options for word in ("-o", option)]
        self.process = subprocess.Popen(
            [STORECAT, *words, source], env=environment(**env),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="surrogateescape")
        self.log = ""  # what it had to say, once it is closed
        self.first = self.answer()

    def answer(self):
        """The lines of one answer."""
        lines = []
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line.startswith(" "):
                lines.append(line[1:])
            elif line.startswith("ok"):
                return Answer(True, line[3:], lines)
            else:
                words, text = line.split(": ", 1)
                kind, status, code, attempts = words.split(" ")[1:]
                return Answer(False, text, lines, kind, int(status), code,
                              int(attempts))
        return Answer(False, "storecat has ended", lines, "ended")

    def ask(self, command, *words):
        """Give a command; bytes and text are percent-encoded."""
        words = [urllib.parse.quote(str(w) if not isinstance(w, bytes) else w,
                                    safe="/-._~") for w in words]
        self.process.stdin.write(" ".join([command, *words]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        """End it; its exit status, which is 0 unless it crashed."""
        if not self.process.stderr.closed:
            self.log = self.process.communicate()[1]
        if "Sanitizer" in self.log or "runtime error" in self.log:
            raise RuntimeError(self.log)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
