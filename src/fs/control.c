/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The texts of control/: stats, errors, log-level. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "fs/fs.h"

static const char *const counter_names[FS_COUNTERS] = {
	[FS_OPENS] = "opens",
	[FS_OPENS_FAILED] = "opens_failed",
	[FS_HANDLES] = "handles_open",
	[FS_READS] = "reads",
	[FS_READ_BYTES] = "read_bytes",
	[FS_READS_FAILED] = "reads_failed",
	[FS_INTERRUPTED] = "interrupted",
	[FS_LOOKUPS] = "lookups",
	[FS_WRITES] = "writes",
	[FS_WRITE_BYTES] = "write_bytes",
	[FS_WRITES_FAILED] = "writes_failed",
	[FS_OVAS] = "ovas",
	[FS_OVA_BYTES] = "ova_bytes",
	[FS_OVA_READ_BYTES] = "ova_read_bytes",
};

static int add_counters(struct fs *fs, json_t *object, struct error *err)
{
	struct timespec now;
	json_int_t uptime;

	for (size_t i = 0; i < FS_COUNTERS; i++) {
		json_int_t n = (json_int_t)atomic_load(&fs->counters[i]);

		if (json_object_set_new(object, counter_names[i],
					json_integer(n)))
			return error_nomem(err);
	}
	clock_gettime(CLOCK_REALTIME, &now);
	uptime = now.tv_sec - fs->started.tv_sec;
	if (json_object_set_new(object, "uptime_seconds",
				json_integer(uptime)) ||
	    json_object_set_new(object, "nodes",
				json_integer((json_int_t)
					     tree_count(fs->tree))) ||
	    json_object_set_new(object, "failures",
				json_integer((json_int_t)
					     failures_count(fs->failures))))
		return error_nomem(err);
	return containers_stats(fs->containers, object, err);
}

/* {"version", "fs": {...}, "engine": {...}, "store": {...},
 * "writing": {...}} */
static int fill_stats(struct fs *fs, json_t *stats, struct error *err)
{
	json_t *own = json_object(), *engine = json_object();
	json_t *store = json_object(), *writes = json_object();

	if (json_object_set_new(stats, "version",
				json_string(PACKAGE_VERSION)) ||
	    json_object_set_new(stats, "fs", own) ||
	    json_object_set_new(stats, "engine", engine) ||
	    json_object_set_new(stats, "store", store) ||
	    json_object_set_new(stats, "writing", writes))
		return error_nomem(err);
	if (add_counters(fs, own, err) ||
	    engine_stats(fs->engine, engine, err) ||
	    exports_stats(fs->exports, writes, err))
		return -1;
	return store_stats(buckets_store(fs->buckets), store, err);
}

static int print_stats(struct fs *fs, struct strbuf *out, struct error *err)
{
	json_t *stats = json_object();
	char *text = NULL;
	int ret = stats ? fill_stats(fs, stats, err) : error_nomem(err);

	if (!ret) {
		text = json_dumps(stats, JSON_INDENT(2));
		if (text)
			strbuf_printf(out, "%s\n", text);
		else
			ret = error_nomem(err);
	}
	free(text);
	json_decref(stats);
	return ret;
}

int fs_control_text(struct fs *fs, const struct node *node,
		    struct strbuf *out, struct error *err)
{
	switch (node->kind) {
	case NODE_STATS:
		if (print_stats(fs, out, err))
			return -1;
		break;
	case NODE_ERRORS:
		failures_print(fs->failures, out);
		break;
	default:
		strbuf_printf(out, "%s\n", log_level_name(log_level()));
	}
	return out->failed ? error_nomem(err) : 0;
}

int fs_set_log_level(const char *text, struct error *err)
{
	char name[16];
	enum log_level level;

	snprintf(name, sizeof(name), "%s", text);
	name[strcspn(name, "\n")] = '\0';
	if (log_level_parse(name, &level))
		return error_set(err, ERR_ARG, "unknown log level '%s': error, "
				 "warning, info or debug", name);
	log_set_level(level);
	return 0;
}
