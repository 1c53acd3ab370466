#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Keys from services: roles and web identities of STS, the container
endpoint, IMDSv2; and what happens when they fail."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from credcase import Case  # noqa: E402
from services import (ARN, BASE, CONTAINER, IMDS, ROLE, STS,  # noqa: E402
                      container_case, imds_case, machine_row, reset,
                      role_case, sts_row)
from standins import ERROR_XML, Container, Imds, Proxy, digest  # noqa: E402

def check_roles():
    """Who asks for the role, and how."""
    reset()
    left = role_case().gives(sts_row(1), "role with source_profile", "-p", "r")
    tap.ok(left and 3590 <= int(left) <= 3600, "its time", left)
    form = STS.forms()[0]
    name = form.pop("RoleSessionName")
    tap.ok(name.startswith("vmiefs-"), "a session name of our own", name)
    tap.same(form, {"Action": "AssumeRole", "Version": "2011-06-15",
                    "RoleArn": ARN}, "nothing is asked for beyond the role")
    reset()
    role_case("source_profile = k\nexternal_id = e+/ &=x\n"
              "role_session_name = me@x\nduration_seconds = 900").gives(
        sts_row(1), "role with all options", "-p", "r")
    form = STS.forms()[0]
    tap.same([form.get(n) for n in ("ExternalId", "RoleSessionName",
                                    "DurationSeconds")],
             ["e+/ &=x", "me@x", "900"], "its options")
    reset(known={"AKIAK": ("SECRETk", "SECRETtoken")})
    Case({"config": f"[profile r]\nrole_arn = {ARN}\nsource_profile = k\n",
          "credentials": BASE.replace("profile ", "") +
          "aws_session_token = SECRETtoken\n"},
         AWS_ENDPOINT_URL=STS.url, AWS_PROFILE="r").gives(
        sts_row(1), "role asked for with a session token")
    reset()
    Case({"config": f"[profile r]\nrole_arn = {ARN}\nsource_profile = r\n",
          "credentials": BASE.replace("profile k", "r")},
         AWS_ENDPOINT_URL=STS.url).gives(
        sts_row(1), "a profile as its own source", "-p", "r")
    reset()
    more = "[profile m]\nrole_arn = middle\nsource_profile = k\n"
    role_case("source_profile = m", more).gives(
        sts_row(2), "role through a role", "-p", "r")
    tap.same([form["RoleArn"] for form in STS.forms()], ["middle", ARN],
             "one after the other")
    reset()
    more = "[profile c]\ncredential_process = echo '" + \
        '{"Version": 1, "AccessKeyId": "AKIAK", "SecretAccessKey": ' \
        '"SECRETk"}' + "'\n"
    role_case("source_profile = c", more).gives(
        sts_row(1), "role through a process", "-p", "r")


def check_sources():
    """credential_source."""
    reset()
    env = {"AWS_ACCESS_KEY_ID": "AKIAK", "AWS_SECRET_ACCESS_KEY": "SECRETk"}
    role_case("credential_source = Environment", **env).gives(
        sts_row(1), "role with Environment", "-p", "r")
    reset()
    CONTAINER.token = "Bearer SECRET"
    case = role_case(
        "credential_source = EcsContainer",
        AWS_CONTAINER_CREDENTIALS_FULL_URI=CONTAINER.url + CONTAINER.path,
        AWS_CONTAINER_AUTHORIZATION_TOKEN="Bearer SECRET")
    CONTAINER.life = 7200
    keys = Container.kind + "1"
    STS.known["ASIA" + keys] = (f"SECRET/{Container.kind}+1",
                                f"SECRETTOKEN{keys}==")
    case.gives(sts_row(1), "role with EcsContainer", "-p", "r")
    reset()
    keys = Imds.kind + "1"
    STS.known["ASIA" + keys] = (f"SECRET/{Imds.kind}+1",
                                f"SECRETTOKEN{keys}==")
    role_case("credential_source = Ec2InstanceMetadata",
              AWS_EC2_METADATA_DISABLED="",
              AWS_EC2_METADATA_SERVICE_ENDPOINT=IMDS.url).gives(
        sts_row(1), "role with Ec2InstanceMetadata", "-p", "r")
    role_case("credential_source = Ec2InstanceMetadata").says(
        [ROLE + ": instance metadata at", "AWS_EC2_METADATA_DISABLED is set"],
        "role with Ec2InstanceMetadata, disabled", "-p", "r")


def check_region():
    """The region that is signed for, and the address without endpoint."""
    for what, words, variables, text, want in (
            ("AWS_REGION", (), {"AWS_REGION": "eu-west-1"}, "", "eu-west-1"),
            ("the profile's", (), {}, "region = eu-west-2", "eu-west-2"),
            ("the option's", ("-r", "eu-west-3"), {"AWS_REGION": "x"}, "",
             "eu-west-3")):
        reset(region=want)
        role_case(f"source_profile = k\n{text}", **variables).gives(
            sts_row(1), f"signed for {what} region", *words, "-p", "r")
    proxy = Proxy()
    for region, want in (("", "sts.amazonaws.com"),
                         ("eu-west-1", "sts.eu-west-1.amazonaws.com"),
                         ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn")):
        role_case(AWS_ENDPOINT_URL_STS="", AWS_REGION=region,
                  https_proxy=proxy.url).says(
            f"network: {ROLE}: ", f"no way to {want}", "-p", "r")
        tap.same({r.path for r in proxy.seen}, {want + ":443"},
                 f"the endpoint for region '{region}'")
        proxy.reset()
    role_case(AWS_ENDPOINT_URL_STS="no url at all").says(
        f"invalid: {ROLE}: its endpoint is no URL", "a bad endpoint",
        "-p", "r")


def check_sts_failures():
    """What STS may answer instead."""
    many = [503] * 10
    throttled = (400, ERROR_XML.format("Throttling", "Rate exceeded").encode())
    for what, overrides, good in (
            ("500 and 503", [500, 503], True), ("resets", ["drop"], True),
            ("429", [429], True), ("Throttling", [throttled] * 2, True),
            ("always 503", many, "network: " + ROLE + ": STS answered 503"),
            ("always a reset", ["drop"] * 10, "network: " + ROLE),
            ("403", [403], "denied: " + ROLE + ": STS answered 403"),
            ("no XML", [(200, b"SECRET")], "corrupt: " + ROLE +
             ": STS's answer is no XML"),
            ("nothing", [(200, b"")], "STS's answer is no XML"),
            ("another XML", [(200, b"<a><b>SECRET</b></a>")],
             "Credentials are missing in the answer"),
            ("no expiry", [(200, b"<a><AssumeRoleResult><Credentials>"
                            b"<AccessKeyId>A</AccessKeyId></Credentials>"
                            b"</AssumeRoleResult></a>")],
             "the expiry is no time"),
            ("a DOCTYPE", [(200, b"<!DOCTYPE a><a/>")], "is no XML"),
            ("a long answer", [(200, b" " * 70000)], ROLE)):
        reset(overrides=list(overrides))
        if good is True:
            role_case().gives(sts_row(1), f"STS: {what}, then keys", "-p", "r")
        else:
            role_case().says(good, f"STS: {what}", "-p", "r")
    reset(known={})
    role_case().says([f"denied: {ROLE}: STS answered 403 InvalidClientTokenId:"
                      " The security token"], "STS: unknown keys", "-p", "r")
    reset(known={"AKIAK": ("SECRETother", None)})
    role_case().says("STS answered 403 SignatureDoesNotMatch: no match",
                     "STS: a wrong secret", "-p", "r")
    tap.same(len(STS.seen), 1, "is not tried again")
    for ahead in (-7200, 7200):
        reset(clock=ahead)
        left = role_case().gives(
            sts_row(1), f"a clock that differs by {ahead} s", "-p", "r")
        tap.same(len(STS.seen), 2, "is corrected once")
        tap.ok(left and 3590 <= int(left) <= 3601, "the expiry, too", left)
    reset()
    STS.released.clear()
    case = role_case("source_profile = m", "[profile m]\nrole_arn = denied\n"
                     "source_profile = k\n")
    case.says(["denied: role of profile 'r': role of profile 'm': STS "
               "answered 403 AccessDenied: User is not"],
              "the first of two roles is refused", "-p", "r")


def check_web_identity():
    """AssumeRoleWithWebIdentity."""
    reset(tokens=["SECRET.web/+ &token"])
    case = Case(AWS_ROLE_ARN=ARN, AWS_ENDPOINT_URL=STS.url,
                AWS_ROLE_SESSION_NAME="me")
    origin = "web identity of the environment"
    case.env["AWS_WEB_IDENTITY_TOKEN_FILE"] = \
        case.write("token", " SECRET.web/+ &token\n")
    case.gives(sts_row(1, origin), "web identity of the environment")
    tap.same(STS.forms()[0].get("RoleSessionName"), "me", "its session name")
    case.write("credentials", BASE.replace("profile k", "default"))
    case.gives(sts_row(2, origin), "goes before a profile")
    case.env.update(AWS_ACCESS_KEY_ID="A", AWS_SECRET_ACCESS_KEY="b")
    case.gives(["environment", "A", digest("b"), "-"], "but not before keys")
    del case.env["AWS_ACCESS_KEY_ID"], case.env["AWS_SECRET_ACCESS_KEY"]
    case.write("token", "SECRETwrong")
    case.says([f"denied: {origin}: STS answered 400 InvalidIdentityToken"],
              "a wrong token")
    for text, want in (("", "is empty"), (" \n", "is empty"),
                       ("SECRET\nSECRET", "has control characters"),
                       ("S" * 17000, "is above 16384 bytes")):
        case.write("token", text)
        case.says([origin + ": web identity token: ", want],
                  f"a bad token: {want}")
    os.unlink(case.path("token"))
    case.says([origin, "No such file"], "no token")
    reset(tokens=["SECRETt"])
    case = role_case("web_identity_token_file = ~/nope\n"
                     "role_session_name = s")
    case.write("config", f"[profile r]\nrole_arn = {ARN}\n"
               f"web_identity_token_file = {case.write('t', 'SECRETt')}\n")
    case.gives(sts_row(1), "web identity of a profile", "-p", "r")
    case.write("config", f"[profile r]\nrole_arn = {ARN}\nsource_profile = k\n"
               f"[profile k]\nrole_arn = a\nweb_identity_token_file = "
               f"{case.path('t')}\n")
    case.gives(sts_row(3), "a role through a web identity", "-p", "r")


def check_container():
    """The container endpoint by its full URI."""
    origin = "container endpoint"
    reset()
    left = container_case().gives(machine_row(CONTAINER, origin), "container")
    tap.ok(left and 3590 <= int(left) <= 3600, "its time", left)
    container_case(http_proxy="http://127.0.0.1:9").gives(
        machine_row(CONTAINER, origin, 2), "never through a proxy")
    CONTAINER.token = "Basic SECRET"
    container_case(AWS_CONTAINER_AUTHORIZATION_TOKEN="Basic SECRET").gives(
        machine_row(CONTAINER, origin, 3), "with a token")
    container_case().says("denied: container endpoint: HTTP status 401",
                          "without its token")
    container_case(AWS_CONTAINER_AUTHORIZATION_TOKEN="a\r\nb: SECRET").says(
        "is no value for a header", "a token of two lines")
    case = container_case(AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong")
    case.env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = \
        case.write("token", "Basic SECRET\n")
    case.gives(machine_row(CONTAINER, origin, 4), "a token file goes first")
    case.write("token", "")
    case.says("authorization token: ", "an empty token file")
    for what, overrides, good in (
            ("500 and a reset", [500, "drop"], True),
            ("always 500", [500] * 9, "network: container endpoint: HTTP stat"
             "us 500 in answer to the request for keys"),
            ("404", [404], "denied: container endpoint: HTTP status 404"),
            ("garbage", [(200, b"<SECRET>")], "corrupt: container endpoint: "
             "the answer is no JSON"),
            ("a list", [(200, b"[]")], "no JSON object"),
            ("too much", [(200, b" " * 70000)], "limit: ")):
        reset()
        CONTAINER.overrides = list(overrides)
        if good is True:
            container_case().gives(machine_row(CONTAINER, origin),
                                   f"container: {what}, then keys")
        else:
            container_case().says(good, f"container: {what}")
    name = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    for uri in ("http://example.com/x", "http://127.0.0.1.example.com/",
                "http://169.254.170.3/", "http://localhost@evil/",
                "ftp://127.0.0.1/", "http://[fd00:ec2::24]/"):
        Case(**{name: uri}).says(["invalid: ", name, "names '"],
                                 f"refused: {uri}")
    Case(**{name: "http://"}).says(name + " is no URL", "no URL")
    Case(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="x").says(
        "does not start with /", "a relative URI without /")
    Case(**{name: "https://127.0.0.1:9/"}).says(
        "network: container endpoint", "any host over TLS")


def check_imds():
    """IMDSv2."""
    origin = "instance metadata"
    reset()
    left = imds_case().gives(machine_row(IMDS, origin), "IMDS")
    tap.ok(left and 3590 <= int(left) <= 3600, "its time", left)
    tap.same([(r.command, r.path) for r in IMDS.seen],
             [("PUT", "/latest/api/token"), ("GET", IMDS.roles),
              ("GET", IMDS.roles + "the-role")], "three requests")
    IMDS.role = "first\nsecond"
    imds_case(http_proxy="http://127.0.0.1:9").gives(
        machine_row(IMDS, origin, 2), "the first role; no proxy")
    reset()
    config = {"config": "[profile x]\nec2_metadata_service_endpoint = "
              f"{IMDS.url}\n"}
    imds_case(config, AWS_EC2_METADATA_SERVICE_ENDPOINT="").gives(
        machine_row(IMDS, origin), "endpoint of the profile", "-p", "x")
    head = ["denied: no credentials: environment has none, profile 'default'",
            "no container endpoint, IMDS at " + IMDS.url,
            "use -o anonymous for a public bucket"]
    for what, overrides, good in (
            ("500 and a reset", [500, "drop"], True),
            ("401 for the role", [(200, b"stale"), 401], True),
            ("401 for the keys", [(200, b"SECRETSESSION"), (200, b"a"), 401],
             True),
            ("always 500", [500] * 9, "did not help: HTTP status 500 in answer"
             " to the request for a token (IMDSv2)"),
            ("always a reset", ["drop"] * 9, "did not answer;"),
            ("404 for the token", [404], "did not help: HTTP status 404"),
            ("no token", [(200, b"")], "its token is no token"),
            ("a token of two lines", [(200, b"a\nb")], "its token is no"),
            ("an odd role", [(200, b"SECRETSESSION"), (200, b"../SECRET")],
             "in place of a role's name"),
            ("no role's name", [(200, b"SECRETSESSION"), (200, b"")],
             "in place of a role's name"),
            ("garbage", [(200, b"SECRETSESSION"), (200, b"r"), (200, b"{")],
             "the answer is no JSON"),
            ("no keys", [(200, b"SECRETSESSION"), (200, b"r"), (
                200, b'{"Code": "AssumeRoleUnauthorizedAccess"}')],
             "the answer is no keys, but AssumeRoleUnauthorizedAccess"),
            ("an odd code", [(200, b"SECRETSESSION"), (200, b"r"), (
                200, b'{"Code": "No SECRET"}')],
             "the answer is no keys, but an odd code"),
            ("a long code", [(200, b"SECRETSESSION"), (200, b"r"), (
                200, b'{"Code": "' + b"x" * 61 + b'"}')],
             "the answer is no keys, but an odd code"),
            ("a code with NUL", [(200, b"SECRETSESSION"), (200, b"r"), (
                200, b'{"Code": "\\u0000 SECRET"}')],
             "the answer is no JSON")):
        reset()
        IMDS.overrides = list(overrides)
        if good is True:
            imds_case().gives(machine_row(IMDS, origin),
                              f"IMDS: {what}, then keys")
        else:
            imds_case().says([*head, good], f"IMDS: {what}")
    reset()
    IMDS.role = ""
    imds_case().says([*head, "the instance has no role"], "IMDS without role")
    IMDS.released.clear()
    reset()
    IMDS.overrides = ["hang"] * 9
    start = time.monotonic()
    imds_case().says([*head, "did not answer;"], "IMDS hangs")
    tap.ok(time.monotonic() - start < 10, "for a few seconds only")
    IMDS.released.set()
    reset()
    IMDS.life = -60
    left = imds_case().gives(machine_row(IMDS, origin),
                             "expired keys of IMDS go on serving")
    tap.ok(left and 500 < int(left) <= 600, "for ten minutes", left)


def check_order():
    """The first of several that are there."""
    reset()
    case = container_case(AWS_EC2_METADATA_DISABLED="",
                          AWS_EC2_METADATA_SERVICE_ENDPOINT=IMDS.url)
    case.gives(machine_row(CONTAINER, "container endpoint"),
               "a container endpoint goes before IMDS")
    keys = ["AKIAK", digest("SECRETk"), "-"]
    case.write("credentials", BASE.replace("profile k", "default") +
               "credential_process = false\n")
    case.gives(["profile 'default'", *keys],
               "a profile before both, its keys before its process")
    tap.same((len(CONTAINER.seen), len(IMDS.seen)), (1, 0),
             "and the others are not asked")


def main():
    """All of it."""
    check_roles()
    check_sources()
    check_region()
    check_sts_failures()
    check_web_identity()
    check_container()
    check_imds()
    check_order()
    return tap.done()


sys.exit(main())
