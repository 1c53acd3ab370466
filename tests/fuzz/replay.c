/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The main of a fuzz target that is built without libFuzzer. With files named
 * on the command line it runs the target once on each; without, it has
 * seeds.py make the target's seeds and runs them as a test that prints TAP. */
#include "config.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define PATH_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input lies in a block of exactly its size, so that valgrind and
 * AddressSanitizer see a read past its end. */
static int replay(const char *path)
{
	AUTO_FILE FILE *file = fopen(path, "rb");
	AUTO_FREE uint8_t *data = NULL;
	struct stat st;
	size_t size;

	if (!file || fstat(fileno(file), &st))
		return -1;
	size = (size_t)st.st_size;
	data = malloc(size ? size : 1);
	if (!data || fread(data, 1, size, file) != size)
		return -1;
	LLVMFuzzerTestOneInput(data, size);
	return 0;
}

static const char *from_environment(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value ? value : otherwise;
}

static int make_seeds(const char *target, const char *folder)
{
	char command[2 * PATH_BYTES];
	int n = snprintf(command, sizeof(command),
			 "'%s' '%s/tests/fuzz/seeds.py' '%s' '%s'",
			 from_environment("PYTHON", "python3"),
			 from_environment("top_srcdir", "."), target, folder);

	return n < (int)sizeof(command) ? system(command) : -1;
}

/* Run every file of the folder, and remove it; -1 if there is none. */
static int replay_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int count = 0;

	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		char path[PATH_BYTES];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		printf("%s %d - %s\n", replay(path) ? "not ok" : "ok", ++count,
		       entry->d_name);
		fflush(stdout);
		unlink(path);
	}
	closedir(dir);
	printf("1..%d\n", count);
	return count ? 0 : -1;
}

static int replay_seeds(const char *program)
{
	const char *slash = strrchr(program, '/');
	char folder[] = "/tmp/vmiefs-seeds.XXXXXX";
	int ret = -1;

	if (!mkdtemp(folder))
		return -1;
	if (!make_seeds(slash ? slash + 1 : program, folder))
		ret = replay_folder(folder);
	rmdir(folder);
	return ret;
}

int main(int argc, char **argv)
{
	if (argc == 1 && replay_seeds(argv[0])) {
		fprintf(stderr, "no seeds\n");
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		if (replay(argv[i])) {
			fprintf(stderr, "%s: %s\n", argv[i],
				"cannot be read");
			return 2;
		}
	}
	return 0;
}
