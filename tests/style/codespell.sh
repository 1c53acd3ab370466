#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# No word of the tree is on codespell's list of misspellings.

. "${0%/*}/../functions.sh"
need codespell
cd "$top_srcdir" || exit 99

# Put together here, so that this file does not find itself.
echo "rec""ieve" >"$tmp/bad"
fails "codespell finds a mistake" "receive" codespell "$tmp/bad"
folders=()
for name in src tests contrib man .ci README.md HACKING.md SECURITY.md NEWS \
	configure.ac; do
	[ -e "$name" ] && folders+=("$name")
done
ok "nothing misspelt" codespell --ignore-words=tests/style/words \
	--skip='*.o,*.pyc,.deps,__pycache__' "${folders[@]}"
done_testing
