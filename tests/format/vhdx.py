#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""vhdx.py [CASE...]: every generated VHDX reads as its recipe says."""

import sys

import blockcase
import make_vhdx

sys.exit(blockcase.main(make_vhdx.cases))
