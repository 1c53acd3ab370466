#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Keys are renewed before they end, in the background, and on demand."""

import concurrent.futures
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from credcase import Case, check_output  # noqa: E402
from services import (CONTAINER, IMDS, KNOWN, STS,  # noqa: E402
                      container_case, imds_case, reset, role_case)
from standins import Sts  # noqa: E402

LIFE = 12    # seconds; what is left of it at a renewal is more than a DELAY
DELAY = 1.5


def names_of(lines):
    """The access keys of credcat's rows."""
    return [line.split("\t")[1] for line in lines if line.count("\t") > 3]


def own_sts(life):
    """An STS for one case, and a role that asks it."""
    sts = Sts()
    sts.reset(known=dict(KNOWN), life=life)
    return sts, role_case(AWS_ENDPOINT_URL_STS=sts.url)


def finish(running):
    """(status, lines, what it logged)"""
    out, err = running.communicate()
    status, lines = check_output(running.returncode, out, err, ["get"])
    return status, lines, err


def slow_renewals():
    """STS takes its time, but nobody waits for it."""
    sts, case = own_sts(LIFE)
    with case.start("-p", "r", "get", "load:22000", "get") as running:
        first = running.stdout.readline()
        sts.delay = DELAY
        status, lines, _ = finish(running)
    had, failed, longest = (int(n) for n in lines[0].split("\t"))
    yield (status == 0 and had > 100 and failed == 0,
           "keys at any time, over two renewals", lines)
    yield longest < DELAY * 1000, "nobody waits for them", longest
    calls = len(sts.seen)
    yield 3 <= calls <= 4, "one at three quarters of a life", calls
    names = names_of([first, *lines])
    yield (names[0] == "ASIASTS1" != names[-1], "new keys", names)


def failed_renewal():
    """It is tried again."""
    sts, case = own_sts(LIFE)
    with case.start("-p", "r", "get", "load:13000") as running:
        running.stdout.readline()
        sts.overrides = [403, 503]
        status, lines, err = finish(running)
    yield (status == 0 and lines[0].split("\t")[1] == "0",
           "a failed renewal is tried again while the old keys serve", lines)
    yield (err.count("the keys at hand end in") == 1, "and is logged once",
           err)


def failed_for_good():
    """Until the keys have ended."""
    sts, case = own_sts(3)
    with case.start("-p", "r", "get", "sleep:4000", "get") as running:
        running.stdout.readline()
        sts.overrides = [403] * 100
        _, lines, _ = finish(running)
    yield ("error denied: role of profile 'r': STS answered 403" in lines[0],
           "the failure is told once the keys have ended", lines)


def token_file():
    """A token that changes."""
    CONTAINER.life = 3
    case = container_case()
    case.env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = \
        case.write("token", "SECRET1")
    CONTAINER.token = "SECRET1"
    with case.start("get", "sleep:4000", "get") as running:
        running.stdout.readline()
        CONTAINER.token = "SECRET2"
        case.write("token", "SECRET2")
        status, lines, err = finish(running)
    yield (status == 0 and names_of(lines) != ["ASIAECS1"],
           "the token's file is read again", f"{lines} {err}")


def instance():
    """The same of IMDS."""
    IMDS.life = 3
    status, lines = imds_case().run("get", "sleep:4000", "get")
    yield (status == 0 and names_of(lines)[1] != "ASIAEC21",
           "IMDS is asked again", lines)


def check_renewal():
    """Before the end, in the background, and on demand; all at once."""
    reset()
    cases = (slow_renewals, failed_renewal, failed_for_good, token_file,
             instance)
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        for rows in pool.map(lambda case: list(case()), cases):
            for row in rows:
                tap.ok(*row)
    status, lines = role_case().run("-p", "r", "get", "refresh", "get", "get")
    tap.same((status, names_of(lines), lines[1]),
             (0, ["ASIASTS1", "ASIASTS2", "ASIASTS2"], "more"),
             "expired by the server's word: others")


def check_deadline():
    """Who waits gives up in time; what is waited for goes on."""
    case = Case({"config": "[profile p]\ncredential_process = sh "
                 "$HOME/.aws/run\n"})
    case.write("run", "until test -e $HOME/go; do sleep 0.1; done; echo "
               "'{\"Version\": 1, \"AccessKeyId\": \"A\", "
               "\"SecretAccessKey\": \"S\"}'")
    start = time.monotonic()
    status, lines = case.run("-p", "p", "get:1500")
    took = time.monotonic() - start
    tap.same((status, lines), (1, [
        "error timeout: credential_process of profile 'p' did not give keys "
        "within 1.5 s"]), "a process that takes longer than the caller has")
    tap.ok(1.5 <= took < 10, "is not waited for", took)
    with case.start("-p", "p", "sleep:1", "get:60000") as running:
        case.write("../go", "")
        out, err = running.communicate()
    lines = check_output(running.returncode, out, err, ["get"])[1]
    tap.same(names_of(lines), ["A"], "one that has the time is")
    reset()
    STS.overrides = ["hang"] * 9
    start = time.monotonic()
    status, lines = role_case().run("-p", "r", "get:1000")
    tap.ok(status == 1 and "STS, asked for the role of profile "
           "'r', did not give keys within 1.0 s" in lines[0] and
           time.monotonic() - start < 5, "STS hangs: likewise", lines)
    STS.released.set()


def check_end():
    """Ending does not wait for what hangs."""
    reset(life=4)
    case = Case({"config": "[profile p]\ncredential_process = sh "
                 "$HOME/.aws/run\n"})
    case.write("run", "test -e $HOME/2 && sleep 100\ntouch $HOME/2\necho "
               '\'{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "S", '
               '"Expiration": "\'$(date -u -d "+4 sec" +%Y-%m-%dT%TZ)\'"}\'')
    start = time.monotonic()
    status, lines = case.run("-p", "p", "get", "sleep:5000")
    tap.ok(status == 0 and time.monotonic() - start < 10,
           "a renewal by a process that hangs", lines)
    left = subprocess.run(["pgrep", "-f", case.path("run")], check=False,
                          stdout=subprocess.PIPE, text=True).stdout
    tap.same(left, "", "is ended with it")


def main():
    """All of it."""
    tap.need("pgrep")
    check_renewal()
    check_deadline()
    check_end()
    return tap.done()


sys.exit(main())
