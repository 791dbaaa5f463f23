#include "cli/command.h"

#include "base/mem.h"

const struct option common_options[] = {
    OPT_BOOL("dry-run", 0, "Execute command in dry run mode"),
    OPTION_END,
};

const struct option global_options[] = {
    OPT_BOOL("all-resources", 0, "Include all resources, even those not used by services"),
    OPT_STR("ansi", 0,
            "Control when to print ANSI control characters (\"never\"|\"always\"|\"auto\")",
            .fallback = "auto", .words = "never always auto"),
    OPT_BOOL("compatibility", 0, "Run compose in backward compatibility mode"),
    OPT_LIST("env-file", 0, "Specify an alternate environment file", .words = "@file"),
    OPT_LIST("file", 'f', "Compose configuration files", .words = "@file"),
    OPT_BOOL("no-ansi", 0, "Do not print ANSI control characters", .flags = OPTION_HIDDEN),
    OPT_INT("parallel", 0, "Control max parallelism, -1 for unlimited", .fallback = "-1"),
    OPT_LIST("profile", 0, "Specify a profile to enable"),
    OPT_STR("progress", 0, "Set type of progress output (auto, tty, plain, json, quiet)",
            .words = "auto tty plain json quiet"),
    OPT_STR("project-directory", 0,
            "Specify an alternate working directory (default: the path of the, first specified, "
            "Compose file)",
            .words = "@dir"),
    OPT_STR("project-name", 'p', "Project name"),
    OPT_STR("root", 0,
            "Folder of images, volumes and the state of projects (default: COMPOSE_ROOT, else "
            "/var/lib/compose)",
            .flags = OPTION_OURS, .words = "@dir"),
    OPT_BOOL("verbose", 0, "Show more output", .flags = OPTION_HIDDEN),
    OPT_BOOL("version", 'v', "Show the version of compose"),
    OPT_STR("workdir", 0, "Old name of --project-directory", .flags = OPTION_HIDDEN,
            .words = "@dir"),
    OPTION_END,
};

#define COMMAND_ENTRY(name) &cmd_##name,
const struct command *const commands[] = {COMMAND_LIST(COMMAND_ENTRY) NULL};

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = words; at && *at;) {
        size_t len = strcspn(at, " ");
        if (len == n && memcmp(at, word, n) == 0)
            return true;
        at += len;
        at += strspn(at, " ");
    }
    return false;
}

const struct command *command_find(const struct command *const *list, const char *name)
{
    for (size_t i = 0; list[i]; i++) {
        if (streq(list[i]->name, name) || has_word(list[i]->aliases, name))
            return list[i];
    }
    return NULL;
}
