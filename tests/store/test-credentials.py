#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Where keys come from: environment, profiles, processes, and what is said
when there are none. Nothing here needs a network."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from credcase import Case  # noqa: E402
from standins import digest, timestamp  # noqa: E402

ENV = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "SECRETenv"}
ENV_ROW = ["environment", "AKIAENV", digest("SECRETenv"), "-"]


def keys(name, section=None, token=None):
    """A profile with keys that are named after it."""
    text = (f"[{section or name}]\naws_access_key_id = AKIA{name}\n"
            f"aws_secret_access_key = SECRET/{name}+=\n")
    return text + (f"aws_session_token = {token}\n" if token else "")


def row(name, profile=None, token=None):
    """What credcat makes of it."""
    return [f"profile '{profile or name}'", f"AKIA{name}",
            digest(f"SECRET/{name}+="), digest(token) if token else "-"]


def check_environment():
    """Variables, and what goes before them."""
    Case(**ENV).gives(ENV_ROW, "environment")
    Case(**ENV, AWS_SESSION_TOKEN="SECRETtoken").gives(
        ENV_ROW[:3] + [digest("SECRETtoken")], "environment with a token")
    Case(**ENV, AWS_SESSION_TOKEN="").gives(ENV_ROW, "an empty token is none")
    Case(AWS_ACCESS_KEY_ID="A").says(
        ["invalid", "AWS_SECRET_ACCESS_KEY is not"], "a key id alone")
    Case(AWS_SECRET_ACCESS_KEY="SECRET").says(
        ["invalid", "AWS_ACCESS_KEY_ID is not"], "a secret alone")
    Case(AWS_ACCESS_KEY_ID="A", AWS_SECRET_ACCESS_KEY="SECRET\n").says(
        ["environment: ", "secret access key has blanks"],
        "a secret with a line end")
    Case(AWS_ACCESS_KEY_ID="A" * 2000, AWS_SECRET_ACCESS_KEY="SECRET").says(
        "the access key id has 2000 bytes, above 1024", "a key without end")
    both = {"credentials": keys("default") + keys("x")}
    Case(both, **ENV).gives(ENV_ROW, "environment before the profile")
    Case(both, **ENV, AWS_PROFILE="x").gives(
        ENV_ROW, "environment before AWS_PROFILE")
    Case(both, **ENV).gives(row("x"), "a profile by option before both",
                            "-p", "x")
    Case(both, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="",
         AWS_PROFILE="").gives(row("default"), "empty variables are unset")
    Case(**ENV, AWS_PROFILE="x").says(
        "profile 'x' is in neither ~/.aws/credentials nor ~/.aws/config",
        "AWS_PROFILE has to be there")
    Case(both).gives(["anonymous", "", digest(""), "-"], "anonymous", "-a")


def check_profiles():
    """The two files."""
    one = {"credentials": keys("default") + keys("x")}
    Case(one).gives(row("default"), "the default profile")
    Case(one, AWS_PROFILE="x").gives(row("x"), "AWS_PROFILE")
    Case(one, AWS_DEFAULT_PROFILE="x").gives(row("x"), "AWS_DEFAULT_PROFILE")
    Case(one, AWS_PROFILE="default").gives(row("x"), "-p", "-p", "x")
    long = "SECRET" * 700
    Case({"credentials": keys("x", token=long)}).gives(
        row("x", token=long), "a token of 4,200 bytes", "-p", "x")
    config = {"config": keys("x", "profile x") + keys("default") +
              keys("wide", 'profile "wide open"') + keys("bad")}
    Case(config).gives(row("default"), "[default] in config")
    Case(config).gives(row("x"), "[profile x] in config", "-p", "x")
    Case(config).gives(row("wide", "wide open"), "a quoted name",
                       "-p", "wide open")
    Case(config).says("profile 'bad' is in neither", "[bad] in config is no "
                      "profile", "-p", "bad")
    Case({"config": keys("d", "profile default")}).gives(
        row("d", "default"), "[profile default] in config")
    Case({"credentials": keys("X") + keys("x")}).gives(
        row("X"), "names are case sensitive", "-p", "X")
    mixed = {"credentials": keys("x"),
             "config": keys("y", "profile x", token="SECRETtoken")}
    Case(mixed).gives(row("x"), "credentials win, and no token is borrowed",
                      "-p", "x")
    Case({"credentials": "[x]\nregion = a\n",
          "config": keys("x", "profile x")}).gives(
        row("x"), "keys in config, the rest in credentials", "-p", "x")


def check_files():
    """Where the files are, and what is wrong with them."""
    case = Case({"a": keys("x"), "b": keys("y", "profile y")})
    case.env.update(AWS_SHARED_CREDENTIALS_FILE=case.path("a"),
                    AWS_CONFIG_FILE="~/.aws/b")
    case.gives(row("x"), "AWS_SHARED_CREDENTIALS_FILE", "-p", "x")
    case.gives(row("y"), "AWS_CONFIG_FILE with ~", "-p", "y")
    case.env["AWS_CONFIG_FILE"] = case.home.name
    case.says(["io", "Is a directory"], "a directory as AWS_CONFIG_FILE")
    case.env["AWS_CONFIG_FILE"] = "/nonexistent"
    case.says(["no credentials: environment has none, profile 'default' is in "
               "neither", "a nor /nonexistent"], "no such AWS_CONFIG_FILE")
    Case({"credentials": "[x]\naws_access_key_id = A\n"}).says(
        "profile 'x' has no aws_secret_access_key in ~/.aws/credentials",
        "half a pair", "-p", "x")
    Case({"credentials": "[x]\naws_access_key_id = A B\n"
          "aws_secret_access_key = SECRET\n"}).says(
        "profile 'x' in ~/.aws/credentials: the access key id has blanks",
        "a blank in a key", "-p", "x")
    Case({"credentials": "[x]\naws_access_key_id A\nSECRET\n"}).says(
        ["invalid", "credentials: line 2: neither [section] nor key"],
        "a broken file")
    Case({"credentials": "#" * (1 << 20) + "#"}).says(
        ["limit", "more than 1048576 bytes"], "a file above 1 MiB")


def check_places():
    """Regions and endpoints."""
    config = {"config": "[profile x]\nregion = eu-west-1\n"
              "endpoint_url = http://p\n[profile y]\nservices = s\n"
              "endpoint_url = http://p\n[services s]\ns3 =\n"
              "  endpoint_url = http://s\nsts =\n  endpoint_url = http://t\n"
              "[profile n]\nendpoint_url = http://p\n"
              "ignore_configured_endpoint_urls = true\n"}
    rows = (
        ("nothing", {}, ["-", "-"]),
        ("AWS_DEFAULT_REGION", {"AWS_DEFAULT_REGION": "b"}, ["b", "-"]),
        ("AWS_REGION", {"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"},
         ["a", "-"]),
        ("empty AWS_REGION", {"AWS_REGION": "", "AWS_DEFAULT_REGION": "b"},
         ["b", "-"]),
        ("the profile's", {"AWS_PROFILE": "x"}, ["eu-west-1", "http://p"]),
        ("environment before profile",
         {"AWS_PROFILE": "x", "AWS_REGION": "a",
          "AWS_ENDPOINT_URL": "http://e"}, ["a", "http://e"]),
        ("AWS_ENDPOINT_URL_S3", {"AWS_ENDPOINT_URL": "http://e",
                                 "AWS_ENDPOINT_URL_S3": "http://3"},
         ["-", "http://3"]),
        ("a services section", {"AWS_PROFILE": "y"}, ["-", "http://s"]),
        ("endpoints ignored by the profile", {"AWS_PROFILE": "n"},
         ["-", "-"]),
        ("endpoints ignored by the environment",
         {"AWS_PROFILE": "y", "AWS_ENDPOINT_URL": "http://e",
          "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"}, ["-", "-"]),
    )
    for what, env, want in rows:
        for words in ((), ("-a",)):
            tap.same(Case(config, **env).run(*words, "region", "endpoint"),
                     (0, want), f"region and endpoint: {what} {words}")


def check_refused():
    """Profiles that cannot work, each by its name."""
    way_out = ("credential_process = aws configure export-credentials "
               "--profile x --format process")
    rows = (
        ("sso-session", "sso_session = s", ["unsupported", "sso", way_out]),
        ("legacy sso", "sso_start_url = u", ["unsupported", "sso", way_out]),
        ("mfa", "role_arn = a\nsource_profile = k\nmfa_serial = m",
         ["unsupported", "mfa_serial", way_out]),
        ("a role without source", "role_arn = a",
         "role_arn needs source_profile, credential_source or web"),
        ("a role with two", "role_arn = a\nsource_profile = k\n"
         "credential_source = Environment", "exclude each other"),
        ("a missing source", "role_arn = a\nsource_profile = nix",
         "source_profile 'nix' does not exist"),
        ("a source without keys", "role_arn = a\nsource_profile = empty",
         "source_profile 'empty' has no keys"),
        ("itself as source", "role_arn = a\nsource_profile = x",
         "source_profile leads back to itself"),
        ("a cycle", "role_arn = a\nsource_profile = c1",
         "profile 'x': profile 'c1': profile 'c2': source_profile leads back "
         "to profile 'x'"),
        ("an unknown source", "role_arn = a\ncredential_source = Moon",
         "credential_source 'Moon' is none of Environment, EcsContainer"),
        ("Environment without", "role_arn = a\ncredential_source = Environm"
         "ent", "AWS_ACCESS_KEY_ID is not set"),
        ("EcsContainer without", "role_arn = a\ncredential_source = EcsConta"
         "iner", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set"),
        ("a short duration", "role_arn = a\nsource_profile = k\n"
         "duration_seconds = 899", "'899', but has to be 900 to 43200"),
        ("a long duration", "role_arn = a\nsource_profile = k\n"
         "duration_seconds = 43201", "'43201', but"),
        ("a duration in words", "role_arn = a\nsource_profile = k\n"
         "duration_seconds = 1h", "'1h', but"),
        ("a token without role", "web_identity_token_file = /t",
         "web_identity_token_file needs role_arn"),
    )
    rest = (keys("k", "profile k") + "[profile empty]\nregion = a\n"
            "[profile c1]\nrole_arn = a\nsource_profile = c2\n"
            "[profile c2]\nrole_arn = a\nsource_profile = x\n")
    for what, text, want in rows:
        Case({"config": f"[profile x]\n{text}\n{rest}"}).says(
            want, f"refused: {what}", "-p", "x")
    Case({"config": "[profile x]\nsso_session = s\n",
          "credentials": keys("x")}).gives(
        row("x"), "sso does not matter where there are keys", "-p", "x")
    Case(AWS_WEB_IDENTITY_TOKEN_FILE="/t").says(
        "AWS_ROLE_ARN is not", "a web identity without role")


def process(text, **variables):
    """A case whose profile p has that command."""
    return Case({"config": f"[profile p]\ncredential_process = {text}\n"},
                **variables)


def check_processes():
    """credential_process that works."""
    want = ["credential_process of profile 'p'", "AKIAP", digest("SECRETp")]
    head = '"Version": 1, "AccessKeyId": "AKIAP", "SecretAccessKey": "SECRETp"'
    process("echo '{" + head + "}'").gives(want + ["-"], "process", "-p", "p")
    case = process("cat $HOME/.aws/out")
    case.write("out", "{" + head + ', "SessionToken": "SECRETt", "Expiration":'
               f' "{timestamp(time.time() + 1000)}"}}')
    left = case.gives(want + [digest("SECRETt")], "process with all", "-p",
                      "p")
    tap.ok(left and 980 < int(left) <= 1000, "its time", left)
    zone = timestamp(time.time() + 1000 + 5400).replace("Z", ".123456+01:30")
    case.write("out", "{" + head + f', "Expiration": "{zone}"}}')
    left = case.gives(want + ["-"], "a time with fraction and zone", "-p", "p")
    tap.ok(left and 980 < int(left) <= 1000, "its time", left)
    process("echo noise >&2; read x || echo '{" + head + "}'").gives(
        want + ["-"], "noise on stderr, nothing to read", "-p", "p")
    process("trap '' HUP; exec 2>&-; echo '{" + head + "}'; exec 1>&-; sleep "
            "0.3").gives(want + ["-"], "pipes closed early", "-p", "p")


def check_bad_processes():
    """credential_process that does not."""
    name = "credential_process of profile 'p': "
    head = '"AccessKeyId": "A", "SecretAccessKey": "SECRET"'
    rows = (
        ("echo ' no  such\\n user ' >&2; exit 7",
         name + "it ended with status 7:  no  such"),
        ("printf 'two ' >&2; sleep 0.2; echo parts >&2; exit 1",
         "it ended with status 1: two parts"),
        ("kill -9 $$", "it ended with signal 9"),
        ("/nonexistent/program", "it ended with status 127: sh: 1: /none"),
        ("true", "the answer is no JSON (line 1, column 0)"),
        ("echo SECRET", "the answer is no JSON"),
        ("echo '{\"SecretAccessKey\": \"SECRET\" \"SECRET\"'",
         "the answer is no JSON (line 1"),
        ("echo '[\"SECRET\"]'", "the answer is no JSON object"),
        ("echo '{\"Version\": 2, " + head + "}'", "\"Version\" in the"),
        ("echo '{" + head + "}'", "\"Version\" in the answer is not 1"),
        ("echo '{\"Version\": 1, \"AccessKeyId\": \"A\"}'",
         "SecretAccessKey is missing in the answer"),
        ("echo '{\"Version\": 1, \"AccessKeyId\": 7}'",
         "AccessKeyId is missing in the answer"),
        ("echo '{\"Version\": 1, \"AccessKeyId\": \"\", "
         "\"SecretAccessKey\": \"SECRET\"}'", "the access key id is empty"),
        ("echo '{\"Version\": 1, \"Expiration\": \"2020-01-01T00:00:00Z\", "
         + head + "}'", "expired already"),
        ("echo '{\"Version\": 1, \"Expiration\": \"tomorrow SECRET\", " +
         head + "}'", "the expiry is no time"),
        ("yes SECRET", "it printed more than 65536 bytes"),
    )
    for command, want in rows:
        process(command).says([name, want], f"process: {command[:40]}",
                              "-p", "p")


def check_nothing():
    """No keys at all."""
    Case().says("no credentials: environment has none, profile 'default' is in"
                " neither ~/.aws/credentials nor ~/.aws/config, no container "
                "endpoint, IMDS at http://169.254.169.254 did not help: "
                "AWS_EC2_METADATA_DISABLED is set; use -o anonymous for a "
                "public bucket", "what was tried")
    Case({"config": "[profile x]\nregion = a\n"}).says(
        "denied: no credentials: environment is not asked because of the "
        "profile, profile 'x' has no keys in ~/.aws/credentials or ~/.aws/"
        "config", "what was tried, with a profile", "-p", "x")
    Case({"config": "[profile x]\nregion = a\n"}, **ENV,
         AWS_PROFILE="x").gives(ENV_ROW, "AWS_PROFILE only for its region")


def check_refresh():
    """Keys that the server has called expired."""
    tap.same(Case(**ENV).run("get", "refresh")[1][1], "no more",
             "environment: no more")
    case = Case({"credentials": keys("x")})
    tap.same(case.run("-p", "x", "get", "refresh")[1][1], "no more",
             "profile: the same keys are no more")
    with case.start("-p", "x", "get", "sleep:500", "refresh", "get",
                    "refresh") as running:
        first = running.stdout.readline().split("\t")
        case.write("credentials", keys("x", token="SECRETnew"))
        lines = running.communicate()[0].splitlines()
    del first[2]
    tap.same(first, row("x")[:3] + ["-\n"], "profile: the first keys")
    tap.same(lines[0], "more", "profile: its file has others")
    tap.same(lines[1].split("\t")[4], digest("SECRETnew"), "they are used")
    tap.same(lines[2], "no more", "and are the last ones")
    case.write("credentials", "SECRET")
    tap.same(Case(**ENV).run("-a", "get", "refresh")[1][1], "no more",
             "anonymous: no more")


def main():
    """All of it."""
    check_environment()
    check_profiles()
    check_files()
    check_places()
    check_refused()
    check_processes()
    check_bad_processes()
    check_nothing()
    check_refresh()
    return tap.done()


sys.exit(main())
