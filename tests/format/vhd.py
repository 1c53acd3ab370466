#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""vhd.py [CASE...]: every generated VHD reads as its recipe says."""

import sys

import blockcase
import make_vhd

sys.exit(blockcase.main(make_vhd.cases))
