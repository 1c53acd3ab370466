#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""find_secrets.py MOUNTPOINT PID FILE...: print where a secret can be read:
in the mount's control files and attributes, in what /proc tells of its process
to others, in the files (logs). The secrets are AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, what VMIEFS_TEST_SECRETS lists, one a line, and whatever
signs a presigned URL."""

import base64
import json
import os
import re
import sys
import urllib.parse

FILES_MAX = 300  # whose attributes are read
PRESIGNED = re.compile(
    rb"X-Amz-(?:Signature|Security-Token|Credential)=[^&\s\"']{6}"
    rb"|Signature=[0-9a-f]{16}", re.IGNORECASE)


def base64_of(secret):
    """What of it shows in the Base64 of a text that holds it, wherever it
    begins there: three bytes are four letters."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        text = text[(0, 2, 3)[shift]:].rstrip("=")
        if (shift + len(secret.encode())) % 3:
            text = text[:-1]
        yield text
        yield text.replace("+", "-").replace("/", "_")


def forms_of(secret):
    """A secret as it might be written."""
    quoted = json.dumps(secret)[1:-1]
    escaped = urllib.parse.quote(secret, safe="")
    forms = {secret, quoted, quoted.replace("/", "\\/"), escaped,
             re.sub("%..", lambda match: match[0].lower(), escaped),
             urllib.parse.quote_plus(secret, safe="/"), *base64_of(secret)}
    return {form.encode() for form in forms}


def secrets():
    """All that must not be seen."""
    names = [os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
             os.environ.get("AWS_SESSION_TOKEN", ""),
             *os.environ.get("VMIEFS_TEST_SECRETS", "").split("\n")]
    return set().union(*(forms_of(name) for name in names if name))


def attributes(top):
    """(where, bytes) of what files say of themselves."""
    count = 0
    for where, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(where, name)
            count += 1
            if count > FILES_MAX:
                return
            try:
                for attribute in os.listxattr(path):
                    yield (f"{path} {attribute}",
                           os.getxattr(path, attribute))
            except OSError:
                continue


def read(path):
    """(path, bytes) of a file, if it is there."""
    try:
        with open(path, "rb") as file:
            return path, file.read()
    except OSError:
        return path, b""


def main():
    top, pid, *files = sys.argv[1:]
    control = os.path.join(top, "control")
    places = [os.path.join(control, name) for name in
              (os.listdir(control) if os.path.isdir(control) else ())]
    places += [f"/proc/{pid}/{name}" for name in ("cmdline", "comm", "stat")]
    texts = [read(path) for path in [*places, "/proc/mounts", *files]]
    if not texts[len(places) - 3][1]:
        print(f"there is no process {pid}")
    texts += attributes(top)
    hidden = secrets()
    if not hidden:
        print("no secret is known")
    for where, text in texts:
        if any(secret in text for secret in hidden):
            print(f"{where}: a secret")
        found = PRESIGNED.search(text)
        if found:
            print(f"{where}: {found[0][:24].decode('latin-1')}...")


if __name__ == "__main__":
    main()
