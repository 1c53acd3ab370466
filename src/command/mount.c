/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * `vmiefs [mount] SOURCE MOUNTPOINT`: its options. */
#include "config.h"

#include "commands.h"
#include "fs/mount.h"
#include "options.h"

#define FLAG(name_, member_, help_)                                            \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_FLAG,            \
	  .offset = offsetof(struct mount_options, member_), .since = "0.1",   \
	  .help = help_ }

#define VALUE(name_, type_, member_, argument_, fallback_, unit_, min_, max_,  \
	      help_)                                                           \
	{ .name = name_, .form = OPTION_MOUNT, .type = type_,                  \
	  .offset = offsetof(struct mount_options, member_),                   \
	  .argument = argument_, .fallback = fallback_, .unit = unit_,         \
	  .min = min_, .max = max_, .since = "0.1", .help = help_ }

/* An id that is none unless it is given; otherwise_ says what is then. */
#define ID(name_, member_, argument_, otherwise_, help_)                       \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_NUMBER,          \
	  .offset = offsetof(struct mount_options, member_),                   \
	  .argument = argument_, .fallback = "4294967295",                     \
	  .fallback_text = otherwise_, .since = "0.1", .help = help_ }

#define KERNEL(name_, help_)                                                   \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_LIST,            \
	  .offset = offsetof(struct mount_options, kernel), .since = "0.1",    \
	  .help = help_ }

/* For mount(8), systemd and other readers of fstab: nothing to us. */
#define IGNORED(name_)                                                         \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_IGNORED }

static const char *const vhd_sizes[] = { "current", "chs", NULL };

static const struct option_row mount_rows[] = {
	{ .name = "foreground", .form = OPTION_LONG, .letter = 'f',
	  .type = OPTION_FLAG, .since = "0.1",
	  .offset = offsetof(struct mount_options, foreground),
	  .help = "stay in the foreground" },
	{ .name = "log", .form = OPTION_LONG, .type = OPTION_TEXT,
	  .offset = offsetof(struct mount_options, log_target),
	  .argument = "TARGET", .since = "0.1",
	  .help = "stderr, syslog (which the journal reads), or a file, "
		  "reopened on SIGHUP; otherwise stderr in the foreground and "
		  "syslog in the background" },
	{ .name = "verbose", .form = OPTION_LONG, .letter = 'v',
	  .type = OPTION_COUNT, .since = "0.1",
	  .offset = offsetof(struct mount_options, verbosity),
	  .help = "log more; twice for debugging" },

	FLAG("allow_other", allow_other, "let other users see the mount"),
	FLAG("allow_root", allow_root, "let root see the mount"),
	FLAG("auto_unmount", auto_unmount, "unmount when the daemon dies"),
	ID("control-gid", control_gid, "GID", "none",
	   "let this group use control/"),
	VALUE("fsname", OPTION_TEXT, fsname, "NAME", NULL, NULL, 0, 0,
	      "what mount(8) and df(1) show instead of the source"),
	ID("gid", gid, "GID", "of who mounts", "group of all files"),
	FLAG("kernel-cache", kernel_cache,
	     "let the kernel cache what is read: slower for copies, faster "
	     "for reading the same place again, and mmap(2) works"),
	VALUE("memory", OPTION_BYTES, memory_bytes, "SIZE", "256M", "bytes",
	      16 << 20, UINT64_C(1) << 44,
	      "bound of caches, buffers and tables over all open disks"),
	VALUE("probe-timeout", OPTION_DURATION, probe_ms, "TIME", "30",
	      "seconds", 100, 3600000,
	      "how long stat(2) and open(2) wait for a container to be "
	      "understood"),
	VALUE("readahead", OPTION_NUMBER, readahead_kib, "KIB", "1024", "KiB",
	      0, 65536, "read-ahead of the kernel with kernel-cache; above "
			"128 only for root"),
	FLAG("ro", is_read_only, "mount read-only"),
	FLAG("service", is_service, "the source is a directory of buckets"),
	{ .name = "threads", .form = OPTION_MOUNT, .type = OPTION_NUMBER,
	  .offset = offsetof(struct mount_options, threads), .max = 1024,
	  .argument = "N", .fallback = "0", .fallback_text = "all",
	  .since = "0.1", .help = "cores to use" },
	VALUE("timeout", OPTION_DURATION, timeout_ms, "TIME", "120",
	      "seconds", 100, 86400000, "deadline of one read"),
	VALUE("ttl", OPTION_DURATION, ttl_ms, "TIME", "1", "seconds", 0,
	      86400000, "how long names and attributes are trusted"),
	ID("uid", uid, "UID", "who mounts", "owner of all files"),
	VALUE("umask", OPTION_OCTAL, umask, "MASK", "0", NULL, 0, 0777,
	      "permission bits taken from modes 0444 and 0555"),
	{ .name = "vhd-size", .form = OPTION_MOUNT, .type = OPTION_CHOICE,
	  .offset = offsetof(struct mount_options, vhd_size),
	  .choices = vhd_sizes, .argument = "WHICH", .fallback = "current",
	  .since = "0.1", .help = "which of a VHD footer's two sizes the "
				  "disk has" },

	KERNEL("dev", "allow device files (root only)"),
	KERNEL("exec", "allow to run programs"),
	KERNEL("noatime", "passed to mount(2)"),
	KERNEL("nodev", "passed to mount(2)"),
	KERNEL("noexec", "passed to mount(2)"),
	KERNEL("nosuid", "passed to mount(2)"),
	KERNEL("suid", "allow set-user-id bits (root only)"),

	IGNORED("_netdev"),
	IGNORED("async"),
	IGNORED("atime"),
	IGNORED("auto"),
	IGNORED("comment"),
	IGNORED("default_permissions"),
	IGNORED("defaults"),
	IGNORED("diratime"),
	IGNORED("group"),
	IGNORED("noauto"),
	IGNORED("nodiratime"),
	IGNORED("nofail"),
	IGNORED("nogroup"),
	IGNORED("noowner"),
	IGNORED("norelatime"),
	IGNORED("nouser"),
	IGNORED("nousers"),
	IGNORED("owner"),
	IGNORED("relatime"),
	IGNORED("rw"),
	IGNORED("sync"),
	IGNORED("user"),
	IGNORED("users"),
	IGNORED("x-*"),
	{ .name = NULL },
};

static const struct option_set mount_set = {
	.synopsis = "SOURCE MOUNTPOINT [-o OPTION[,...]]",
	.args_min = 2,
	.args_max = 2,
	.target_size = sizeof(struct mount_options),
	.rows = mount_rows,
};

static int mount_run(const struct command *command, int argc, char **argv)
{
	struct mount_options options;
	char *args[3];
	int status;

	if (!command_begin(command, &options, argc, argv, args, &status))
		return status;
	options.source = args[0];
	options.mountpoint = args[1];
	status = mount_main(&options);
	options_free(&mount_set, &options);
	return status;
}

const struct command mount_command = {
	.name = "mount",
	.summary = "show a directory of containers as a tree of raw disks",
	.options = &mount_set,
	.run = mount_run,
};
