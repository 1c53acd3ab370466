# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# run_over STORE LIST: the tests of a list (read-tests, write-tests) that run
# there, with their store in a bucket (store.sh), all on one server; one check
# each. Sourced behind functions.sh. VMIEFS_TEST_HAND=yes takes those to be run
# by hand, too.
# shellcheck shell=bash disable=SC2034,SC2154

# listed_tests STORE LIST KINDS: those whose entry for the store matches.
listed_tests() {
	awk -v store="$1" -v kinds="^($3)\$" '
		$2 == "TEST" { while ($(column + 2) != store) column++ }
		/^[^#]/ && $(column + 1) ~ kinds { print $1 }
		' "$top_srcdir/tests/s3/$2"
}

# How many checks of a kind a log of TAP has.
checks_of() {
	grep -acE "$1" "$tmp/output"
}

# run_one TEST: pass, fail or skip as it did.
run_one() {
	local test=$1 status begin=$SECONDS level=debug runner=bash
	# One test looks at the level itself.
	[ "$test" != fs/test-control.sh ] || level=

	[ "${test%.py}" = "$test" ] || runner=$PYTHON
	VMIEFS_TEST_LEVEL=$level TMPDIR=$tmp timeout -k 30 900 \
		"$runner" "$top_srcdir/tests/$test" >"$tmp/output" 2>&1
	status=$?
	test="$test ($((SECONDS - begin)) s)"
	if grep -aq '^1\.\.0 # SKIP' "$tmp/output"; then
		skip "$test" "$(sed -n 's/^1..0 # SKIP //p' "$tmp/output")"
	elif [ $status = 0 ] && [ "$(checks_of '^not ok')" = 0 ]; then
		pass "$test: $(checks_of '^ok') checks"
		sed -n 's/^ok .* # SKIP/# &/p' "$tmp/output"
	else
		fail "$test: exit status $status" \
			"$(grep -avE '^ok ' "$tmp/output")"
	fi
	is "$("$PYTHON" "$top_srcdir/tests/s3/find_secrets.py" \
		/nowhere self "$tmp/output")" "" "$test prints no secret"
}

run_over() {
	local kinds=full test

	export VMIEFS_TEST_STORE=$1
	[ -z "${VMIEFS_TEST_HAND-}" ] || kinds='full|hand'
	need_fuse
	. "$top_srcdir/tests/s3/store.sh"
	for test in $(listed_tests "$1" "$2" "$kinds"); do
		run_one "$test"
	done
	done_testing
}
