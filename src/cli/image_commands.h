/* The subcommands of `compose image`. */
#ifndef CLI_IMAGE_COMMANDS_H
#define CLI_IMAGE_COMMANDS_H

#include "cli/command.h"

extern const struct command image_ls, image_inspect, image_history, image_fsck, image_pull_command,
    image_push_command, image_load_command, image_save_command, image_import_command,
    image_tag_command, image_rm, image_prune_command;

struct cli;
/* IDs of the images that containers of any project use; NULL-terminated heap vector or NULL. */
char **images_in_use(struct cli *cli);

#endif
