# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Stand-ins on loopback for what hands out keys: STS (which checks
signatures), the container endpoint, IMDS, and a proxy that refuses.

All that is secret has SECRET in it, so that a test can look for it."""

import dataclasses
import hashlib
import http.client
import http.server
import json
import os
import re
import sys
import threading
import time
import urllib.parse
from email.utils import formatdate

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "s3"))
# pylint: disable=wrong-import-position
import sigv4  # noqa: E402

ERROR_XML = ('<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
             "<Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message>"
             "</Error><RequestId>ID-1</RequestId></ErrorResponse>")


def timestamp(seconds):
    """2026-01-31T12:00:00Z"""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def digest(text):
    """What credcat prints of a secret."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Keys:
    """One set; the number says which."""

    def __init__(self, kind, number):
        self.access = f"ASIA{kind}{number}"
        self.secret = f"SECRET/{kind}+{number}"
        self.token = f"SECRETTOKEN{kind}{number}=="

    def row(self, origin):
        """credcat's line without the time that is left."""
        return [origin, self.access, digest(self.secret), digest(self.token)]


@dataclasses.dataclass
class Request:
    """What came."""
    command: str
    path: str
    headers: http.client.HTTPMessage
    body: bytes


class Handler(http.server.BaseHTTPRequestHandler):
    """Leaves it all to the server's answer()."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Tests print TAP only."""

    def date_time_string(self, timestamp=None):
        return formatdate(time.time() + self.server.clock, usegmt=True)

    def _do(self):
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(self.command, self.path, self.headers,
                          self.rfile.read(length))
        server = self.server
        with server.lock:
            server.seen.append(request)
            override = server.overrides.pop(0) if server.overrides else None
        time.sleep(server.delay)
        if override == "hang":
            server.released.wait(60)
        if override in ("hang", "drop"):
            self.close_connection = True
            return
        if isinstance(override, int):
            override = (override, b"SECRET text that nobody may show")
        try:
            status, body = override or server.answer(request)
        except sigv4.Refusal as error:
            status, body = error.status, ERROR_XML.format(
                error.code, error.message).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_CONNECT = _do


class Standin(http.server.ThreadingHTTPServer):
    """seen: the requests. overrides: what comes in place of the next answers:
    a status, (status, body), "drop" (the connection) or "hang". delay: how
    many seconds each answer takes."""
    kind = ""
    daemon_threads = True

    def __init__(self, address="127.0.0.1", port=0):
        super().__init__((address, port), Handler)
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.life = 3600
        self.reset()
        self.url = f"http://{address}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def reset(self, **settings):
        """As new, but for these."""
        self.seen, self.overrides, self.issued = [], [], []
        self.clock, self.life, self.delay = 0, 3600, 0
        self.__dict__.update(settings)

    def issue(self):
        """New keys, and when they end by the server's clock."""
        with self.lock:
            keys = Keys(self.kind, len(self.issued) + 1)
            self.issued.append(keys)
        return keys, timestamp(time.time() + self.clock + self.life)

    def json(self):
        """Keys as metadata services answer."""
        keys, expiry = self.issue()
        return 200, json.dumps({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": keys.access,
            "SecretAccessKey": keys.secret, "Token": keys.token,
            "Expiration": expiry}).encode()

    def handle_error(self, request, client_address):
        """Clients may go away at any time."""


class Sts(Standin):
    """known: keys that may assume roles (besides those it issued); tokens:
    web identities."""
    kind = "STS"

    def reset(self, **settings):
        self.known, self.tokens, self.region = {}, [], "us-east-1"
        super().reset(**settings)

    def forms(self):
        """The fields of the calls so far."""
        return [dict(urllib.parse.parse_qsl(r.body.decode()))
                for r in self.seen]

    def _check(self, request):
        given = request.headers.get("Authorization", "")
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})", given)
        if not match:
            raise sigv4.Refusal(403, "MissingAuthenticationToken", "no header")
        access, scope, signed, signature = match.groups()
        secrets = dict(self.known)
        secrets.update({k.access: (k.secret, k.token) for k in self.issued})
        if access not in secrets:
            raise sigv4.Refusal(403, "InvalidClientTokenId", "The security "
                                "token included in the request is invalid.")
        secret, token = secrets[access]
        date = request.headers["X-Amz-Date"]
        now = time.time() + self.clock
        if not sigv4.iso_date(now - 300) < date < sigv4.iso_date(now + 300):
            raise sigv4.Refusal(403, "SignatureDoesNotMatch",
                                "Signature expired")
        want = sigv4.signature(secret, date, scope, sigv4.canonical_request(
            "POST", request.path, "",
            [(n.lower(), v) for n, v in request.headers.items()],
            signed.split(";"), hashlib.sha256(request.body).hexdigest()))
        if want != signature or "host" not in signed or \
                scope.split("/")[1:] != [self.region, "sts", "aws4_request"] \
                or request.headers.get("X-Amz-Security-Token") != token:
            raise sigv4.Refusal(403, "SignatureDoesNotMatch", "no match")

    def answer(self, request):
        """One of the two calls."""
        form = dict(urllib.parse.parse_qsl(request.body.decode()))
        action = form.get("Action")
        if action == "AssumeRole":
            self._check(request)
        elif form.get("WebIdentityToken") not in self.tokens:
            raise sigv4.Refusal(400, "InvalidIdentityToken", "no such token")
        elif "Authorization" in request.headers:
            raise sigv4.Refusal(400, "ValidationError", "signed")
        if "denied" in form["RoleArn"]:
            raise sigv4.Refusal(403, "AccessDenied", "User is not authorized "
                                "to perform: sts:AssumeRole")
        keys, expiry = self.issue()
        return 200, (
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06'
            f'-15/"><{action}Result><AssumedRoleUser><Arn>x</Arn>'
            f"</AssumedRoleUser><Credentials><AccessKeyId>{keys.access}"
            f"</AccessKeyId><SecretAccessKey>{keys.secret}</SecretAccessKey>"
            f"<SessionToken>{keys.token}</SessionToken><Expiration>{expiry}"
            f"</Expiration></Credentials></{action}Result></{action}Response>"
        ).encode()


class Container(Standin):
    """token: the Authorization that it wants."""
    kind = "ECS"
    path = "/v2/credentials/id?a=b"

    def reset(self, **settings):
        self.token = None
        super().reset(**settings)

    def answer(self, request):
        """Keys at the one path."""
        if request.headers.get("Authorization") != self.token:
            return 401, b"SECRET: not you"
        return self.json() if request.path == self.path else (404, b"")


class Imds(Standin):
    """role: what the list of roles holds."""
    kind = "EC2"
    roles = "/latest/meta-data/iam/security-credentials/"

    def reset(self, **settings):
        self.role = "the-role"
        super().reset(**settings)

    def answer(self, request):
        """IMDSv2 only."""
        if request.path == "/latest/api/token":
            ttl = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            return (200, b"SECRETSESSION") if request.command == "PUT" and \
                0 < int(ttl or 0) <= 21600 else (400, b"")
        if request.headers.get("X-aws-ec2-metadata-token") != "SECRETSESSION":
            return 401, b""
        if not self.role:
            return 404, b""
        if request.path == self.roles:
            return 200, self.role.encode()
        if request.path == self.roles + self.role.split("\n")[0]:
            return self.json()
        return 404, b""


class Proxy(Standin):
    """Refuses all, but remembers where it was to go."""

    def answer(self, request):
        return 502, b""
