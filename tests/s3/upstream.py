# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The scripted server in front of another one: rules say what goes wrong on
the way, the work is done there. Each request is signed anew, with our keys, so
that keys can end here which that server knows nothing of."""

import http.client
import urllib.parse

import sigv4
from answer import Reply

TIMEOUT = 60  # seconds
# Made anew on the way there, and on the way back.
OURS = ("authorization", "connection", "content-length", "expect", "host",
        "x-amz-content-sha256", "x-amz-date", "x-amz-security-token")
THEIRS = ("connection", "content-length", "date", "keep-alive", "server",
          "transfer-encoding", "x-amz-id-2", "x-amz-request-id")
CONDITIONS = ("if-match", "if-none-match", "x-amz-copy-source-if-match")


class Upstream:
    """The server that does the work; one connection a request."""

    def __init__(self, url, keys):
        self.host, self.keys = urllib.parse.urlsplit(url).netloc, keys

    def _begin(self, request, picked):
        """A connection over which the head of a request has gone."""
        ignored = CONDITIONS if any(rule["do"] == "conditions"
                                    for rule in picked) else ()
        headers = {n: v for n, v in request.headers
                   if n not in OURS and n not in ignored}
        signed = sigv4.sign(self.keys, request.method, request.path,
                            request.query, {"host": self.host, **headers},
                            request.header("x-amz-content-sha256"))
        link = http.client.HTTPConnection(self.host, timeout=TIMEOUT)
        link.putrequest(request.method, request.path +
                        ("?" + request.query if request.query else ""),
                        skip_host=True, skip_accept_encoding=True)
        for name, value in signed.items():
            link.putheader(name, value)
        if request.method in ("PUT", "POST"):
            link.putheader("content-length",
                           request.header("content-length") or "0")
        link.endheaders()
        return link

    def answer(self, request, picked):
        """Have it do the work: its Reply. Raises OSError."""
        link = self._begin(request, picked)
        try:
            for piece in request.body.pieces():
                link.send(piece)
            answer = link.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            link.close()
        headers = {n: v for n, v in answer.getheaders()
                   if n.lower() not in THEIRS}
        size = int(answer.headers.get("content-length") or len(body))
        if answer.status in (204, 304):
            headers["Content-Length"] = None
        return Reply(answer.status, headers, body,
                     size=size if request.method == "HEAD" else None)

    def cut(self, request, picked):
        """What came of a request's body before its connection was lost."""
        link = self._begin(request, picked)
        try:
            for piece in request.body.pieces():
                link.send(piece)
        finally:
            link.close()
