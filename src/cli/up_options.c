#include "cli/up_options.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/client.h"
#include "cli/reasons.h"
#include "engine/facts.h"

int scale_parse(const struct project *p, const char *const *items, json_t **scale, struct err *err)
{
    json_t *out AUTOJSON = json_object();
    for (; *items; items++) {
        const char *eq = strchr(*items, '=');
        int64_t n;
        if (!eq)
            return err_set(err, ERR_INVALID, "invalid --scale option \"%s\". Should be SERVICE=NUM",
                           *items);
        char *name AUTOFREE = xstrndup(*items, (size_t)(eq - *items));
        if (!parse_int(eq + 1, &n) || n < 0)
            return err_set(err, ERR_INVALID,
                           "invalid --scale option \"%s\": replicas must be a number of 0 or more",
                           *items);
        const struct service *s = project_service(p, name);
        if (!s)
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", name);
        if (s->provider)
            return err_set(err, ERR_INVALID,
                           "service \"%s\" has a provider, and no containers to scale", name);
        if (s->container_name && n > 1)
            return err_set(err, ERR_INVALID,
                           "service \"%s\" has container_name \"%s\": it can't be scaled to more "
                           "than one container",
                           name, s->container_name);
        json_object_set_new(out, name, json_integer(n));
    }
    *scale = STEAL(out);
    return 0;
}

int load_for_services(struct cli *cli, const char *const *services, struct project **out,
                      struct err *err)
{
    struct load_options options;
    cli_load_options(cli, &options);
    options.services = *services ? services : NULL;
    if (cli_project(cli, &options, out, err) < 0)
        return -1;
    int rc = cli_check_services(*out, services, err);
    if (rc < 0) {
        project_free(*out);
        *out = NULL;
    }
    return rc;
}

void request_orphans(json_t *request, const struct args *args)
{
    bool remove = args_bool(args, "remove-orphans");
    if (!args_given(args, "remove-orphans"))
        remove = env_true("COMPOSE_REMOVE_ORPHANS");
    request_bool(request, "remove_orphans", remove);
    request_bool(request, "ignore_orphans", env_true("COMPOSE_IGNORE_ORPHANS"));
}

static bool volume_is_used(const struct project *p, const bool *selected, const char *key)
{
    for (size_t i = 0; i < p->services_n; i++)
        if (selected[i] && service_uses_volume(&p->services[i], key))
            return true;
    return false;
}

static bool ask_about_volume(struct cli *cli, const struct project *p, const struct volume *v,
                             const json_t *changes)
{
    json_t *resolved AUTOJSON = reasons_resolve(changes, p);
    char *question AUTOFREE = xasprintf(
        "Volume \"%s\" exists but doesn't match configuration in compose file. Recreate "
        "(data will be lost)?%s",
        v->name, isatty(STDIN_FILENO) ? " [yN]" : "");
    size_t i;
    json_t *reason;
    json_array_foreach (resolved, i, reason) {
        char *line AUTOFREE = reason_line(reason);
        fprintf(stderr, "   %s\n", line);
    }
    if (!cli->dry_run)
        return cli_confirm(cli, question);
    cli_outf("%s\n", question);
    return false;
}

void request_renewals(struct cli *cli, json_t *request, const struct project *p,
                      const bool *selected, bool yes)
{
    json_t *names = NULL;
    if (cli_paths(cli, NULL) < 0)
        return;
    for (size_t i = 0; i < p->volumes_n; i++) {
        const struct volume *v = &p->volumes[i];
        json_t *changes AUTOJSON = volume_is_used(p, selected, v->key)
                                       ? volume_changes(&cli->paths, v)
                                       : NULL;
        if (!changes || (!yes && !ask_about_volume(cli, p, v, changes)))
            continue;
        names = names ? names : json_array();
        json_array_append_new(names, json_string(v->name));
    }
    if (names)
        request_json(request, "renew_volumes", names);
}
