#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The linter finds nothing in any script, the completion included.

. "${0%/*}/../functions.sh"
need shellcheck
cd "$top_srcdir" || exit 99

scripts() {
	find tests contrib .ci src -type f \( -name '*.sh' -o \
		-exec grep -qIE '^#!.*(bash|/sh)' {} \; \) -print 2>/dev/null
	find contrib/completion -type f -name vmiefs 2>/dev/null
}

printf "#!/bin/bash\necho \$1\n" >"$tmp/bad.sh"
fails "shellcheck finds an unquoted word" SC2086 shellcheck "$tmp/bad.sh"
while read -r script; do
	ok "$script" shellcheck --external-sources --shell=bash \
		--source-path=SCRIPTDIR --source-path=SCRIPTDIR/.. \
		--exclude=SC1091,SC2317 "$script"
done < <(scripts | sort -u)
done_testing
