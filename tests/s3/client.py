# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Signed requests for tests, one by one and never sent again."""

import hashlib
import html
import http.client
import re

import sigv4
from control import KEYS


def field(body, name):
    """The text of the first element of a name, "" without."""
    text = body.decode("utf-8", "replace")
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def quoted(text):
    """For a query."""
    return sigv4.quote(text)


class Client:
    """Requests to the server, each of its own connection."""

    def __init__(self, server):
        self.server = server
        self.host = f"127.0.0.1:{server.ports['http']}"

    def send(self, path, query="", method="GET", headers=None, body=None):
        """Send a request as it is; (status, headers, body)."""
        link = http.client.HTTPConnection(self.host, timeout=60)
        try:
            link.request(method, path + ("?" + query if query else ""), body,
                         headers=headers or {})
            answer = link.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            link.close()

    def get(self, path, query="", method="GET", headers=None, body=None,
            **sign):
        """A signed request, with the body's hash unless `payload` says
        otherwise."""
        path = sigv4.quote(path, "/-._~")
        keys = sign.pop("keys", KEYS)
        sign.setdefault("payload", hashlib.sha256(body or b"").hexdigest())
        signed = sigv4.sign(keys, method, path, query,
                            {"host": self.host, **(headers or {})}, **sign)
        return self.send(path, query, method, signed, body)

    def code(self, *args, **kwargs):
        """Status and S3 code of a refusal."""
        status, _, body = self.get(*args, **kwargs)
        return status, field(body, "Code")

    def put(self, path, body=b"", headers=None, query="", **sign):
        """PUT; (status, code or "")."""
        return self.code(path, query, "PUT", headers, body, **sign)

    def delete(self, path, headers=None, query=""):
        """DELETE; (status, code or "")."""
        return self.code(path, query, "DELETE", headers)

    def begin(self, path, headers=None):
        """The id of a new part upload."""
        return field(self.get(path, "uploads=", "POST", headers)[2],
                     "UploadId")

    def part(self, path, name, number, body=b"", headers=None, **sign):
        """A part of it; (status, headers, body)."""
        return self.get(path, f"partNumber={number}&uploadId={quoted(name)}",
                        "PUT", headers, body, **sign)

    def complete(self, path, name, parts, headers=None):
        """Make an object of parts, a list of (number, etag)."""
        rows = "".join(f"<Part><PartNumber>{number}</PartNumber>"
                       f"<ETag>{etag}</ETag></Part>" for number, etag in parts)
        return self.get(path, f"uploadId={quoted(name)}", "POST", headers,
                        "<CompleteMultipartUpload>"
                        f"{rows}</CompleteMultipartUpload>".encode())

    def abort(self, path, name):
        """Drop it; (status, code or "")."""
        return self.delete(path, query=f"uploadId={quoted(name)}")
