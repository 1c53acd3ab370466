#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""control.py PORT rules|objects|keys|clock JSON
   control.py PORT reset | log | counts | uploads | count [NAME=PATTERN...]

Tells the scripted server (server.py) at the control port PORT what to do;
`log` prints its log, `counts` that in numbers, `uploads` the part uploads that
are open, `count` how many requests match."""

import fnmatch
import http.client
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = {"access": "TESTACCESSKEY0000001",
        "secret": "testsecretkey/00000000000000+00000000001"}


class Control:
    """The control port of a server."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, value=None):
        """Send a value; the text of the answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = None if value is None else json.dumps(value)
        link.request(method, path, body)
        answer = link.getresponse()
        text = answer.read().decode("utf-8", "surrogateescape")
        link.close()
        if answer.status != 200:
            raise ValueError(text)
        return text

    def rules(self, *rules):
        """Replace all rules."""
        self.ask("PUT", "/rules", rules)

    def objects(self, bucket, *specs):
        """Make objects up."""
        self.ask("PUT", "/objects", {"bucket": bucket, "objects": specs})

    def keys(self, *keys):
        """Replace the credentials that the server knows."""
        self.ask("PUT", "/keys", keys)

    def clock(self, seconds):
        """Set the server's clock that far ahead."""
        self.ask("PUT", "/clock", seconds)

    def reset(self):
        """Forget log, rules and clock."""
        self.ask("PUT", "/reset")

    def log(self, **patterns):
        """The requests whose members match: log(op="get", key="*.vmdk")."""
        entries = map(json.loads, self.ask("GET", "/log").splitlines())
        return [e for e in entries
                if all(fnmatch.fnmatchcase(str(e[n]), str(p))
                       for n, p in patterns.items())]

    def counts(self):
        """{op: {"requests":, "received":, "sent":}} of the log."""
        return json.loads(self.ask("GET", "/counts"))

    def uploads(self):
        """The part uploads that are open."""
        return json.loads(self.ask("GET", "/uploads"))


class Server(Control):
    """A scripted server of the caller's own, with the credentials KEYS."""

    def __init__(self, root, *options, scratch=None):
        self.root, self.options = root, options
        self.ready = os.path.join(scratch or os.path.dirname(root),
                                  f"ready-{id(self)}")
        self.process, self.ports = None, {}
        self.start()
        super().__init__(self.ports["control"])

    def start(self):
        """Start it, again on the ports that it had."""
        ports = [f"--{n}={p}" for n, p in self.ports.items() if n != "pid"]
        env = {**os.environ, "AWS_ACCESS_KEY_ID": KEYS["access"],
               "AWS_SECRET_ACCESS_KEY": KEYS["secret"]}
        env.pop("AWS_SESSION_TOKEN", None)
        # It lives on, and stop() ends it.
        self.process = subprocess.Popen(  # pylint: disable=R1732
            [sys.executable, os.path.join(HERE, "server.py"), self.root,
             "--ready", self.ready, *ports, *self.options],
            env=env, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not os.path.exists(self.ready):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the scripted server did not start")
            time.sleep(0.02)
        with open(self.ready, encoding="utf-8") as file:
            self.ports = {n: int(v) for n, v in
                          (line.strip().split("=") for line in file)}
        os.unlink(self.ready)

    def url(self, scheme="http", host="127.0.0.1"):
        """Its endpoint."""
        return f"{scheme}://{host}:{self.ports[scheme]}"

    def stop(self, how=signal.SIGKILL):
        """End it; rules and log are gone."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def main():
    control = Control(int(sys.argv[1]))
    what, rest = sys.argv[2], sys.argv[3:]
    if what == "count":
        print(len(control.log(**dict(word.split("=", 1) for word in rest))))
    elif what in ("log", "counts", "uploads"):
        print(control.ask("GET", "/" + what).rstrip("\n"))
    else:
        control.ask("PUT", "/" + what, json.loads(rest[0]) if rest else None)


if __name__ == "__main__":
    main()
