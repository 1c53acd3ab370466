/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * `vmiefs [mount] SOURCE MOUNTPOINT`: its options. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "command/remote.h"
#include "commands.h"
#include "common/checked.h"
#include "fs/mount.h"
#include "options.h"

/* The command line. */
struct mount_line {
	struct mount_options mount;
	struct remote_options remote;
	/* Of new objects: struct store_new_options. */
	char *acl, *content_type, *sse, *sse_kms_key, *storage_class, *tags;
	bool metadata;
};

#define AT(member_) offsetof(struct mount_line, mount.member_)

#define FLAG(name_, member_, help_)                                            \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_FLAG,            \
	  .offset = AT(member_), .since = "0.1",                               \
	  .help = help_ }

#define VALUE(name_, type_, member_, argument_, fallback_, unit_, min_, max_,  \
	      help_)                                                           \
	{ .name = name_, .form = OPTION_MOUNT, .type = type_,                  \
	  .offset = AT(member_),                                               \
	  .argument = argument_, .fallback = fallback_, .unit = unit_,         \
	  .min = min_, .max = max_, .since = "0.1", .help = help_ }

/* An id that is none unless it is given; otherwise_ says what is then. */
#define ID(name_, member_, argument_, otherwise_, help_)                       \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_NUMBER,          \
	  .offset = AT(member_),                                               \
	  .argument = argument_, .fallback = "4294967295",                     \
	  .fallback_text = otherwise_, .since = "0.1", .help = help_ }

#define CHOICE(name_, member_, choices_, argument_, fallback_, help_)          \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_CHOICE,          \
	  .offset = AT(member_), .choices = choices_,                          \
	  .argument = argument_, .fallback = fallback_, .since = "0.1",        \
	  .help = help_ }

#define KERNEL(name_, help_)                                                   \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_LIST,            \
	  .offset = AT(kernel), .since = "0.1",                                \
	  .help = help_ }

/* Of new objects in S3. */
#define OBJECT(name_, member_, argument_, otherwise_, help_)                   \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_TEXT,            \
	  .offset = offsetof(struct mount_line, member_),                      \
	  .argument = argument_, .fallback_text = otherwise_, .since = "0.1",  \
	  .help = help_ }

/* For mount(8), systemd and other readers of fstab: nothing to us. */
#define IGNORED(name_)                                                         \
	{ .name = name_, .form = OPTION_MOUNT, .type = OPTION_IGNORED }

static const char *const vhd_sizes[] = { "current", "chs", NULL };
static const char *const levels[] = { "fast", "small", "smallest", NULL };
static const char *const spools[] = { "auto", "always", NULL };
static const char *const subformats[] = { "dynamic", "fixed", NULL };

static const struct option_row mount_rows[] = {
	{ .name = "foreground", .form = OPTION_LONG, .letter = 'f',
	  .type = OPTION_FLAG, .since = "0.1",
	  .offset = AT(foreground),
	  .help = "stay in the foreground" },
	{ .name = "log", .form = OPTION_LONG, .type = OPTION_TEXT,
	  .offset = AT(log_target),
	  .argument = "TARGET", .since = "0.1",
	  .help = "stderr, syslog (which the journal reads), or a file, "
		  "reopened on SIGHUP; otherwise stderr in the foreground and "
		  "syslog in the background" },
	{ .name = "verbose", .form = OPTION_LONG, .letter = 'v',
	  .type = OPTION_COUNT, .since = "0.1",
	  .offset = AT(verbosity),
	  .help = "log more; twice for debugging" },

	OBJECT("acl", acl, "NAME", "the bucket's",
	       "canned ACL of new objects in S3"),
	FLAG("allow_other", allow_other, "let other users see the mount"),
	FLAG("allow_root", allow_root, "let root see the mount"),
	FLAG("auto_unmount", auto_unmount, "unmount when the daemon dies"),
	CHOICE("compression", compression, levels, "LEVEL", "fast",
	       "of VMDK files that are written"),
	OBJECT("content-type", content_type, "TYPE", "the server's",
	       "of new objects in S3"),
	ID("control-gid", control_gid, "GID", "none",
	   "let this group use control/"),
	FLAG("delete", can_delete, "allow to remove and rename objects"),
	VALUE("fsname", OPTION_TEXT, fsname, "NAME", NULL, NULL, 0, 0,
	      "what mount(8) and df(1) show instead of the source"),
	ID("gid", gid, "GID", "of who mounts", "group of all files"),
	FLAG("kernel-cache", kernel_cache,
	     "let the kernel cache what is read: slower for copies, faster "
	     "for reading the same place again, and mmap(2) works"),
	VALUE("memory", OPTION_BYTES, memory_bytes, "SIZE", "256M", "bytes",
	      16 << 20, UINT64_C(1) << 44,
	      "bound of caches, buffers and tables over all open disks"),
	{ .name = "metadata", .form = OPTION_MOUNT, .type = OPTION_FLAG,
	  .offset = offsetof(struct mount_line, metadata), .since = "0.1",
	  .help = "new objects in S3 say their format, packer and disk size "
		  "in x-amz-meta-vmiefs-*" },
	FLAG("overwrite", can_overwrite, "allow to replace objects"),
	VALUE("probe-timeout", OPTION_DURATION, probe_ms, "TIME", "30",
	      "seconds", 100, 3600000,
	      "how long stat(2) and open(2) wait for a container to be "
	      "understood"),
	VALUE("readahead", OPTION_NUMBER, readahead_kib, "KIB", "1024", "KiB",
	      0, 65536, "read-ahead of the kernel with kernel-cache; above "
			"128 only for root"),
	FLAG("require-size", require_size,
	     "complete only files whose size was set before by ftruncate(2) "
	     "or fallocate(2)"),
	FLAG("ro", is_read_only, "mount read-only"),
	{ .name = "scratch", .form = OPTION_MOUNT, .type = OPTION_TEXT,
	  .offset = AT(scratch), .argument = "DIR",
	  .fallback_text = "/var/tmp/vmiefs-UID", .since = "0.1",
	  .help = "where bytes wait that are written out of order" },
	VALUE("scratch-size", OPTION_BYTES, scratch_bytes, "SIZE", "16G",
	      "bytes", 0, UINT64_C(1) << 50, "bound of what lies there"),
	FLAG("service", is_service, "the source is a directory of buckets"),
	CHOICE("spool", spool, spools, "WHEN", "auto",
	       "always: what is written waits in scratch until it is closed"),
	OBJECT("sse", sse, "KIND", "as the bucket says",
	       "s3 or kms: the server encrypts new objects"),
	OBJECT("sse-kms-key", sse_kms_key, "ID", "the account's",
	       "the key of sse=kms"),
	OBJECT("storage-class", storage_class, "NAME", "STANDARD",
	       "of new objects in S3"),
	OBJECT("tags", tags, "LIST", "none",
	       "of new objects in S3, like a=1&b=2"),
	{ .name = "threads", .form = OPTION_MOUNT, .type = OPTION_NUMBER,
	  .offset = AT(threads), .max = 1024,
	  .argument = "N", .fallback = "0", .fallback_text = "all",
	  .since = "0.1", .help = "cores to use" },
	VALUE("timeout", OPTION_DURATION, timeout_ms, "TIME", "120",
	      "seconds", 100, 86400000, "deadline of one read"),
	VALUE("ttl", OPTION_DURATION, ttl_ms, "TIME", "1", "seconds", 0,
	      86400000, "how long names and attributes are trusted"),
	ID("uid", uid, "UID", "who mounts", "owner of all files"),
	VALUE("umask", OPTION_OCTAL, umask, "MASK", "0", NULL, 0, 0777,
	      "permission bits taken from all modes"),
	CHOICE("vhd", vhd, subformats, "KIND", "dynamic",
	       "kind of VHD files that are written"),
	{ .name = "vhd-size", .form = OPTION_MOUNT, .type = OPTION_CHOICE,
	  .offset = AT(vhd_size),
	  .choices = vhd_sizes, .argument = "WHICH", .fallback = "current",
	  .since = "0.1", .help = "which of a VHD footer's two sizes the "
				  "disk has" },
	CHOICE("vhdx", vhdx, subformats, "KIND", "dynamic",
	       "kind of VHDX files that are written"),

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
	REMOTE_ROWS(OPTION_MOUNT, struct mount_line, remote),
	{ .name = "sse-c*", .form = OPTION_MOUNT, .type = OPTION_REFUSED,
	  .help = "keys of the client's own (SSE-C) are not supported; use "
		  "sse=s3 or sse=kms" },
	{ .name = NULL },
};

static const struct option_set mount_set = {
	.synopsis = "SOURCE MOUNTPOINT [-o OPTION[,...]]",
	.args_min = 2,
	.args_max = 2,
	.target_size = sizeof(struct mount_line),
	.rows = mount_rows,
};

/* A read must hear from the store what is wrong before its own deadline. */
static unsigned int store_timeout(const struct mount_line *line)
{
	return (unsigned int)min_u64(line->remote.timeout_ms,
				     line->mount.timeout_ms / 10 * 9);
}

static int run_line(struct mount_line *line, const char *source,
		    const char *mountpoint)
{
	struct mount_options *mount = &line->mount;
	struct error err = { 0 };

	mount->source = source;
	mount->mountpoint = mountpoint;
	if (remote_is_service(source)) {
		mount->is_service = true;
	} else if (mount->is_service && remote_is_url(source)) {
		fprintf(stderr, "vmiefs mount: -o service: is for a directory "
			"of directories; s3:// shows all buckets\n");
		return EXIT_USAGE;
	}
	if (remote_fill(&mount->store, &line->remote, &err)) {
		fprintf(stderr, "vmiefs mount: %s\n", err.text);
		return EXIT_FAILED;
	}
	mount->store.timeout_ms = store_timeout(line);
	mount->store.new_objects = (struct store_new_options){
		.sse = line->sse,
		.sse_kms_key = line->sse_kms_key,
		.storage_class = line->storage_class,
		.acl = line->acl,
		.content_type = line->content_type,
		.tags = line->tags,
		.metadata = line->metadata,
	};
	return mount_main(mount);
}

static int mount_run(const struct command *command, int argc, char **argv)
{
	struct mount_line line;
	char *args[3], *source;
	struct error err = { 0 };
	int status;

	if (!command_begin(command, &line, argc, argv, args, &status))
		return status;
	if (remote_take_source(&source, args[0], &err)) {
		fprintf(stderr, "vmiefs mount: %s\n", err.text);
		status = EXIT_FAILED;
	} else {
		status = run_line(&line, source, args[1]);
	}
	free(source);
	options_free(&mount_set, &line);
	return status;
}

const struct command mount_command = {
	.name = "mount",
	.summary = "show a directory or bucket of containers as a tree of raw "
		   "disks",
	.options = &mount_set,
	.run = mount_run,
};
