# Macros of vmiefs' own configure.ac.

# VMIEFS_WARNINGS(FLAGS): probe each flag, collect the good ones in
# WARN_CFLAGS (the user's CFLAGS stay the user's).
AC_DEFUN([VMIEFS_WARNINGS], [
WARN_CFLAGS=
for flag in m4_normalize([$1]); do
	AC_MSG_CHECKING([whether $CC understands $flag])
	saved_CFLAGS=$CFLAGS
	CFLAGS="$CFLAGS -Werror $flag"
	AC_COMPILE_IFELSE([AC_LANG_PROGRAM([])],
		[AC_MSG_RESULT([yes]); WARN_CFLAGS="$WARN_CFLAGS $flag"],
		[AC_MSG_RESULT([no])])
	CFLAGS=$saved_CFLAGS
done
AC_SUBST([WARN_CFLAGS])
])

# VMIEFS_SWITCH(NAME, HELP): --enable-NAME, off by default.
AC_DEFUN([VMIEFS_SWITCH], [
AC_ARG_ENABLE([$1], [AS_HELP_STRING([--enable-$1], [$2])], [],
	[enable_$1=no])
])

# VMIEFS_SANITIZERS: turn the switches into SAN_CFLAGS and SAN_LDFLAGS.
AC_DEFUN([VMIEFS_SANITIZERS], [
SAN_CFLAGS=
SAN_LDFLAGS=
AS_IF([test "x$enable_werror" = xyes], [SAN_CFLAGS="$SAN_CFLAGS -Werror"])
AS_IF([test "x$enable_asan" = xyes], [
	SAN_CFLAGS="$SAN_CFLAGS -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
	SAN_LDFLAGS="$SAN_LDFLAGS -fsanitize=address,undefined"])
AS_IF([test "x$enable_tsan" = xyes], [
	AS_IF([test "x$enable_asan" = xyes],
		[AC_MSG_ERROR([--enable-asan and --enable-tsan exclude each other])])
	SAN_CFLAGS="$SAN_CFLAGS -fsanitize=thread"
	SAN_LDFLAGS="$SAN_LDFLAGS -fsanitize=thread"])
AS_IF([test "x$enable_coverage" = xyes], [
	SAN_CFLAGS="$SAN_CFLAGS --coverage"
	SAN_LDFLAGS="$SAN_LDFLAGS --coverage"])
FUZZ_CFLAGS=
FUZZ_LDFLAGS=
AS_IF([test "x$enable_fuzzing" = xyes], [
	SAN_CFLAGS="$SAN_CFLAGS -fsanitize=fuzzer-no-link"
	FUZZ_CFLAGS="-DFUZZING_ENGINE"
	FUZZ_LDFLAGS="-fsanitize=fuzzer"])
AC_SUBST([SAN_CFLAGS])
AC_SUBST([SAN_LDFLAGS])
AC_SUBST([FUZZ_CFLAGS])
AC_SUBST([FUZZ_LDFLAGS])
AM_CONDITIONAL([FUZZING], [test "x$enable_fuzzing" = xyes])
])

# VMIEFS_OPTIONAL(NAME, VAR, MODULE, WHAT): --with-NAME=yes|no|auto; with_NAME
# is yes or no afterwards.
AC_DEFUN([VMIEFS_OPTIONAL], [
AC_ARG_WITH([$1], [AS_HELP_STRING([--with-$1], [$4 (default: auto)])], [],
	[with_$1=auto])
AS_IF([test "x$with_$1" != xno], [
	PKG_CHECK_MODULES([$2], [$3], [
		with_$1=yes
		AC_DEFINE([HAVE_$2], [1], [Define to 1 if $1 is there.])
	], [AS_IF([test "x$with_$1" = xyes],
		[AC_MSG_ERROR([$1 was asked for but $3 is not there])],
		[AC_MSG_WARN([$1 not found: $4 is missing])
		with_$1=no])])])
])
