# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Seeds of what comes with credentials: profile files, JSON with keys."""

import json

PROFILES = (
    "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s/+=\n"
    "region=eu-west-1\n# [x]\n; k=v\n[x]\nk : v\n",
    "\ufeff[profile \"x\"]\r\nrole_arn = a\r\n s3 =\r\n   endpoint_url = u\r\n"
    "   k\r\n region = r\r\n[profile  'y z' ] # w\r\nk=\r\n",
    "[services s]\ns3 =\n  endpoint_url = http://a:1\n\nsts=\n\tk=v\n",
    "[x]\nk=v\nREGION = a\n[X]\nk=w\n[x]\nregion = b\n",
    "[x\n", "k = v\n", "[x]\nno key\n", "", "[]\n=", "[x]\n  k = v\n l = w",
)
KEYS = {"AccessKeyId": "AKIA", "SecretAccessKey": "s/+=",
        "Expiration": "2036-01-31T12:00:00Z"}


def profile_seeds():
    """Files of AWS's tools, and some that are broken."""
    for number, text in enumerate(PROFILES):
        yield f"profile-{number}", text.encode()
    yield "long", b"[x]\nk = " + b"v" * 20000


def keys_seeds():
    """The first byte: 1 is a process, 0 a metadata service."""
    def seed(kind, **more):
        return kind + json.dumps({**KEYS, **more}).encode()
    yield "process", seed(b"1", Version=1, SessionToken="t" * 2000)
    yield "version", seed(b"1", Version=2)
    yield "imds", seed(b"0", Code="Success", Token="t")
    yield "code", seed(b"0", Code="AssumeRoleUnauthorizedAccess")
    yield "odd-code", seed(b"0", Code="Su$ccess")
    for zone in (".5Z", "+01:30", "-0130", "x", ""):
        yield f"zone{zone}", seed(b"0", Expiration="2036-01-31T12:00:00" +
                                  zone)
    yield "no-string", seed(b"0", AccessKeyId=7, Token=None, Expiration=[])
    yield "list", b"0[]"
    yield "cut", b"0{\"AccessKeyId\": \"A"


def seeds(target):
    """Of one of the two targets."""
    return profile_seeds() if target == "fuzz-profile" else keys_seeds()
