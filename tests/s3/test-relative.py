#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Relative paths in options and in the environment mean what they meant where
the command was typed, also for the daemon, which has left for "/"."""

import os
import subprocess
import sys
import tempfile

for place in ("..", "../store"):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), place))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import KEYS, Server  # noqa: E402
from mounted import HERE, Mount, environment, need_mounts  # noqa: E402
from standins import Container, Sts  # noqa: E402

NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
PROCESS = """#!/bin/sh
echo called >>calls
printf '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "%s"}' \\
    $(cat keys)
"""
ROLE = "arn:aws:iam::123456789012:role/r"


def write(path, text):
    """A file that may be run."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)


def profile(keys, name="default"):
    """A section of ~/.aws/credentials."""
    return (f"[{name}]\naws_access_key_id = {keys['access']}\n"
            f"aws_secret_access_key = {keys['secret']}\n")


def reads(what, there, server, *options, env=None, then=None):
    """A mount from the folder `there` works; then() and another file."""
    where, log = os.path.split(there)[0], "mount"
    try:
        with Mount(where, "s3://disks", "addressing=path", "ttl=0",
                   "endpoint=" + server.url("https"), *options, cwd=there,
                   env=environment(**(env or {}))) as mount:
            for name in ("a.img", "b.img"):
                with open(mount.path("disks/" + name), "rb") as disk:
                    tap.same(disk.read(), name.encode(), f"{what}: {name}")
                if then:
                    then()
                    then = None
            log = os.readlink(f"/proc/{mount.pid}/cwd")
    except (OSError, RuntimeError) as error:
        tap.ok(False, what, error)
    tap.same(log, "/", f"{what}: its daemon has left")


def check_bundles(server, there):
    """Certificates."""
    reads("ca-bundle=", there, server, "ca-bundle=tls/ca.pem")
    reads("AWS_CA_BUNDLE", there, server, env={
        "AWS_CA_BUNDLE": "./tls/ca.pem"})


def check_files(server, there):
    """Profiles; one that has new keys is read again."""
    bundle = "ca-bundle=tls/ca.pem"
    new = {"access": "NEWKEY", "secret": "another/secret+0123456789"}
    env = {**NO_KEYS, "VMIEFS_TEST_SECRETS":
           f"{KEYS['secret']}\n{new['secret']}"}
    write(f"{there}/my-credentials", profile(KEYS))

    def change():
        write(f"{there}/my-credentials", profile(new))
        server.keys({**KEYS, "expired": True}, new)

    reads("AWS_SHARED_CREDENTIALS_FILE", there, server, bundle, then=change,
          env={**env, "AWS_SHARED_CREDENTIALS_FILE": "my-credentials"})
    server.keys(KEYS)
    write(f"{there}/get-keys", PROCESS)
    write(f"{there}/keys", f"{KEYS['access']} {KEYS['secret']}")
    write(f"{there}/my-config",
          "[profile p]\ncredential_process = ./get-keys\n")
    reads("AWS_CONFIG_FILE and a process", there, server, bundle, "profile=p",
          env={**env, "AWS_CONFIG_FILE": "../there/my-config"})
    tap.ok(os.path.exists(f"{there}/calls"), "the process runs there, too")


def check_tokens(server, there):
    """Tokens that are read each time."""
    bundle = "ca-bundle=tls/ca.pem"
    write(f"{there}/token", "SECRET-web-token")
    for standin in (Sts(), Container()):
        issued = [{"access": f"ASIA{standin.kind}{n}",
                   "secret": f"SECRET/{standin.kind}+{n}",
                   "token": f"SECRETTOKEN{standin.kind}{n}=="}
                  for n in range(1, 9)]
        server.keys(KEYS, *issued)
        standin.reset()
        if standin.kind == "STS":
            standin.tokens = ["SECRET-web-token"]
            env = {"AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": standin.url,
                   "AWS_WEB_IDENTITY_TOKEN_FILE": "token"}
        else:
            standin.token = "SECRET-web-token"
            env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI":
                   standin.url + standin.path,
                   "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "token"}
        reads(next(name for name in env if name.endswith("FILE")), there,
              server, bundle, env={
                  **NO_KEYS, **env, "VMIEFS_TEST_SECRETS":
                  "\n".join(["SECRET-web-token"] +
                            [k[n] for k in issued
                             for n in ("secret", "token")])})


def main():
    need_mounts()
    tap.need("openssl", "bash")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        there = os.path.join(top, "there")
        os.makedirs(os.path.join(top, "root/disks"))
        os.makedirs(there)
        for name in ("a.img", "b.img"):
            write(os.path.join(top, "root/disks", name), name)
        tls = os.path.join(there, "tls")
        subprocess.run(
            ["bash", "-c", '. "$1/servers.sh"; make_certificates "$2"', "-",
             HERE, tls], check=True)
        with Server(os.path.join(top, "root"), "--cert", f"{tls}/server.pem",
                    "--key", f"{tls}/server.key") as server:
            for check in (check_bundles, check_files, check_tokens):
                check(server, there)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
