#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The addresses that need no configuration, in a network namespace that has
nothing else: 169.254.170.2 of ECS, 169.254.169.254 and fd00:ec2::254 of EC2."""

import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from credcase import Case  # noqa: E402
from services import machine_row  # noqa: E402
from standins import Container, Imds  # noqa: E402

ADDRESSES = ("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32",
             "fd00:ec2::254/128", "fd00:ec2::23/128")
ORIGIN = "instance metadata"
ECS_ORIGIN = "container endpoint"


class Imds6(Imds):
    """Over IPv6."""
    address_family = socket.AF_INET6


class Container6(Container):
    """Over IPv6."""
    address_family = socket.AF_INET6


def check_silence():
    """Nobody is there."""
    on = {"AWS_EC2_METADATA_DISABLED": ""}
    Case(**on).says("no container endpoint, IMDS at http://169.254.169.254 did"
                    " not answer; use -o anonymous", "no IMDS")
    Case(**on, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE="IPv6").says(
        "IMDS at http://[fd00:ec2::254] did not answer", "no IMDS, IPv6")
    Case(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/x").says(
        "network: container endpoint: ", "no container endpoint")


def check_addresses():
    """They are."""
    # What is assigned here keeps the servers.
    imds, container = Imds("169.254.169.254", 80), Container("169.254.170.2",
                                                             80)
    agent, agent6 = Container("169.254.170.23", 80), Container6(
        "fd00:ec2::23", 80)
    imds6 = Imds6("fd00:ec2::254", 80)
    on = {"AWS_EC2_METADATA_DISABLED": ""}
    Case(**on).gives(machine_row(imds, ORIGIN), "IMDS")
    Case(**on, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE="IPv6").gives(
        machine_row(imds6, ORIGIN), "IMDS over IPv6")
    config = {"config": "[profile x]\n"
              "ec2_metadata_service_endpoint_mode = ipv6\n"}
    Case(config, **on).gives(machine_row(imds6, ORIGIN, 2),
                             "IPv6 by the profile", "-p", "x")
    relative = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": Container.path}
    Case(**relative).gives(machine_row(container, ECS_ORIGIN),
                           "container endpoint")
    Case(**relative, **on,
         AWS_CONTAINER_CREDENTIALS_FULL_URI="http://169.254.170.23/").gives(
        machine_row(container, ECS_ORIGIN, 2), "the relative URI goes first")
    for server, host in ((agent, "169.254.170.23"),
                         (agent6, "[fd00:ec2::23]")):
        Case(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://" + host +
             Container.path).gives(machine_row(server, ECS_ORIGIN),
                                   f"the agent at {host}")


def main():
    """In a namespace of our own."""
    tap.need("unshare", "ip")
    if sys.argv[1:] != ["inside"]:
        run = subprocess.run(["unshare", "-Urn", "ip", "address", "add",
                              "fd00:ec2::254/128", "dev", "lo"], check=False,
                             stderr=subprocess.DEVNULL)
        if run.returncode:
            tap.skip_all("network namespaces with IPv6 are not allowed")
        os.execvp("unshare", ["unshare", "-Urn", sys.executable, __file__,
                              "inside"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    check_silence()
    for address in ADDRESSES:
        subprocess.run(["ip", "address", "add", address, "dev", "lo"],
                       check=True)
    check_addresses()
    return tap.done()


sys.exit(main())
