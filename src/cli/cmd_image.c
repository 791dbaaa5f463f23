#include "cli/image_commands.h"

static const struct command *const subcommands[] = {
    &image_fsck,
    &image_history,
    &image_import_command,
    &image_inspect,
    &image_load_command,
    &image_ls,
    &image_prune_command,
    &image_pull_command,
    &image_push_command,
    &image_rm,
    &image_save_command,
    &image_tag_command,
    NULL,
};

const struct command cmd_image = {
    .name = "image",
    .usage = "COMMAND",
    .summary = "Manage the images of this machine",
    .subcommands = subcommands,
    .flags = COMMAND_OURS,
};
