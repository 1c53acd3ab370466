/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * Locking the probing child up. Each step is useless to an attacker once the
 * next one holds; all are taken so that a hole in one is not the end. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "guest/sandbox.h"

#define NOBODY 65534

/* AddressSanitizer and ThreadSanitizer reserve terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const struct {
	__rlimit_resource_t resource;
	rlim_t limit;
} limits[] = {
	{ RLIMIT_CPU, 5 }, /* seconds */
	{ RLIMIT_NOFILE, 3 },
	{ RLIMIT_FSIZE, 0 },
	{ RLIMIT_CORE, 0 },
	{ RLIMIT_NPROC, 0 },
#if !SANITIZED
	{ RLIMIT_AS, 256u << 20 },
#endif
};

static int set_limits(struct error *err)
{
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit limit = { limits[i].limit, limits[i].limit };

		if (setrlimit(limits[i].resource, &limit))
			return error_errno(err, errno, "setrlimit");
	}
	return 0;
}

/* In a user namespace nobody may have no mapping (EINVAL) and groups may be
 * fixed (EPERM); the filter below holds there all the same. */
static int drop_identity(struct error *err)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) && errno != EPERM)
		return error_errno(err, errno, "setgroups");
	if (setresgid(NOBODY, NOBODY, NOBODY) && errno != EINVAL)
		return error_errno(err, errno, "setresgid");
	if (setresuid(NOBODY, NOBODY, NOBODY) && errno != EINVAL)
		return error_errno(err, errno, "setresuid");
	return 0;
}

/* What libblkid, malloc and leaving need on the descriptors that are there. */
static const int allowed[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(pread64),
	SCMP_SYS(lseek),
	SCMP_SYS(_llseek),
	SCMP_SYS(fstat),
	SCMP_SYS(fstat64),
	SCMP_SYS(fadvise64),
	SCMP_SYS(fadvise64_64),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(getrandom),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigreturn),
#if SANITIZED
	SCMP_SYS(futex),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(clock_gettime),
#endif
};

/* glibc's fstat() is newfstatat(fd, "", buf, AT_EMPTY_PATH); memory may be
 * mapped, but never to run. */
static int allow_some(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp not_exec =
		SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	const struct scmp_arg_cmp empty_path =
		SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH);
	int ret = 0;

	for (size_t i = 0; !ret && i < sizeof(allowed) / sizeof(allowed[0]);
	     i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW,
				       SCMP_SYS(newfstatat), 1, empty_path);
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap),
				       1, not_exec);
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW,
				       SCMP_SYS(mmap2), 1, not_exec);
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW,
				       SCMP_SYS(mprotect), 1, not_exec);
	return ret;
}

static int load_filter(struct error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int ret;

	if (!filter)
		return error_nomem(err);
	ret = allow_some(filter);
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	if (ret)
		return error_errno(err, -ret, "seccomp filter");
	return 0;
}

int guest_sandbox_enter(struct error *err)
{
	if (set_limits(err) || drop_identity(err))
		return -1;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_errno(err, errno, "prctl");
	return load_filter(err);
}
