/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The sub-commands; main.c lists them. */
#ifndef VMIEFS_COMMANDS_H
#define VMIEFS_COMMANDS_H

#include "options.h"

extern const struct command check_command;
extern const struct command info_command;
extern const struct command map_command;
extern const struct command mount_command;
extern const struct command status_command;
extern const struct command uploads_command;

#endif
