#include "cli/up_options.h"

#include "base/mem.h"
#include "cli/client.h"

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
