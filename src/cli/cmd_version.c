#include "base/mem.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "runtime/cgroup.h"
#include "runtime/oci.h"

static const struct option options[] = {
    OPT_STR("format", 'f', "Format the output. Values: [pretty | json]. (Default: pretty)",
            .words = "pretty json"),
    OPT_BOOL("short", 0, "Shows only Compose's version number"),
    OPT_BOOL("verbose", 0, "Shows which OCI runtime and which cgroups are used",
             .flags = OPTION_OURS),
    OPTION_END,
};

/* What the machine makes of us. */
static void add_details(struct cli *cli, json_t *j)
{
    struct oci_runtime rt = {0};
    struct err err AUTOERR = ERR_INIT;
    json_object_set_new(j, "cgroups", json_string(cgroup_mode_name(cgroup_mode())));
    if (cli_paths(cli, &err) < 0 || oci_runtime_choose(NULL, cli->paths.run, &rt, &err) < 0) {
        jset_str(j, "runtime", err.msg);
        return;
    }
    jset_str(j, "runtime", rt.name);
    jset_str(j, "runtimePath", rt.path);
    jset_str(j, "runtimeReason", rt.why);
    jset_str(j, "root", cli->paths.root);
    jset_str(j, "run", cli->paths.run);
    oci_runtime_release(&rt);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    (void)err;
    bool verbose = args_bool(args, "verbose");
    if (args_bool(args, "short")) {
        cli_outf("%s\n", compose_version);
        return 0;
    }
    json_t *j AUTOJSON = json_pack("{s:s}", "version", compose_version);
    if (verbose)
        add_details(cli, j);
    if (streq(args_str(args, "format"), "json")) {
        cli_out_json(j);
        return 0;
    }
    cli_outf("Compose version %s\n", compose_version);
    const char *key;
    json_t *value;
    json_object_del(j, "version");
    json_object_foreach (j, key, value) {
        cli_outf("  %-14s %s\n", key, json_string_value(value));
    }
    return 0;
}

const struct command cmd_version = {
    .name = "version",
    .usage = "[OPTIONS]",
    .summary = "Show the version of compose",
    .options = options,
    .run = run,
};
