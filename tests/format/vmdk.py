#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""vmdk.py [CASE...]: every generated VMDK reads as its recipe says."""

import sys

import blockcase
import make_vmdk

sys.exit(blockcase.main(make_vmdk.cases))
