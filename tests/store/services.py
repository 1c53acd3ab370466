# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The stand-ins, running, and cases that use them."""

from credcase import Case
from standins import Container, Imds, Sts, digest

STS, CONTAINER, IMDS = Sts(), Container(), Imds()
ROLE = "role of profile 'r'"
ARN = "arn:aws:iam::123456789012:role/of+odd=name,@x-y_z"
BASE = ("[profile k]\naws_access_key_id = AKIAK\n"
        "aws_secret_access_key = SECRETk\n")
KNOWN = {"AKIAK": ("SECRETk", None)}


def reset(**settings):
    """The stand-ins as new."""
    for standin in (STS, CONTAINER, IMDS):
        standin.reset()
    STS.known = dict(KNOWN)
    STS.__dict__.update(settings)


def role_case(text="source_profile = k", more="", **variables):
    """Profile r is a role."""
    config = f"[profile r]\nrole_arn = {ARN}\n{text}\n{BASE}{more}"
    return Case({"config": config},
                **{"AWS_ENDPOINT_URL_STS": STS.url, **variables})


def imds_case(files=None, **variables):
    """IMDS is there."""
    variables = {"AWS_EC2_METADATA_DISABLED": "",
                 "AWS_EC2_METADATA_SERVICE_ENDPOINT": IMDS.url + "/",
                 **variables}
    return Case(files, **variables)


def container_case(**variables):
    """A container endpoint is there."""
    return Case(AWS_CONTAINER_CREDENTIALS_FULL_URI=CONTAINER.url +
                CONTAINER.path, **variables)


def sts_row(number, origin=ROLE):
    """credcat's row for the keys of that number."""
    keys = Sts.kind + str(number)
    return [origin, "ASIA" + keys, digest(f"SECRET/{Sts.kind}+{number}"),
            digest(f"SECRETTOKEN{keys}==")]


def machine_row(standin, origin, number=1):
    """credcat's row for a container or instance."""
    keys = f"{standin.kind}{number}"
    return [origin, "ASIA" + keys, digest(f"SECRET/{standin.kind}+{number}"),
            digest(f"SECRETTOKEN{keys}==")]
