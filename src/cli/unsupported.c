#include "cli/unsupported.h"

#include <string.h>

#include "base/mem.h"
#include "file/diag.h"

static const struct {
    const char *path; /* below the service, members separated by "." */
    const char *what;
} unsupported[] = {
    {"post_start", "hooks are not run"},
    {"pre_stop", "hooks are not run"},
    {"pre_start", "hooks are not run"},
    {"gpus", "no device is passed to the container"},
    {"deploy.resources.reservations.devices", "no device is passed to the container"},
    {"deploy.placement.constraints", "there is one machine"},
    {"deploy.update_config", "containers are replaced as up does it"},
    {"deploy.rollback_config", "there is no rollback"},
    {"use_api_socket", "there is no API socket"},
    {"credential_spec", "it means something on Windows only"},
};

/* The node at "a.b.c"; NULL where it is missing, null or empty. */
static const struct node *at_path(const struct node *n, const char *path)
{
    char *steps AUTOFREE = xstrdup(path), *rest = NULL;
    for (char *step = strtok_r(steps, ".", &rest); step; step = strtok_r(NULL, ".", &rest))
        n = node_get(n, step);
    bool empty = !node_given(n) || (node_is(n, NODE_SEQUENCE) && !n->seq.n) ||
                 (node_is(n, NODE_MAPPING) && !n->map.n) || (node_is(n, NODE_BOOL) && !n->boolean);
    return empty ? NULL : n;
}

static void check_driver(struct diag *d, const struct service *s)
{
    const struct node *driver = node_get(node_get(s->node, "logging"), "driver");
    const char *name = node_str(driver);
    static const char *const ours[] = {"json-file", "local", "none"};
    bool known = !name || !*name;
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        known |= name && streq(name, ours[i]);
    if (!known)
        diag_warning(d, &driver->mark,
                     "service \"%s\": logging driver \"%s\" is not supported: json-file is used",
                     s->name, name);
}

static void check_userns(struct diag *d, const struct service *s)
{
    const struct node *mode = node_get(s->node, "userns_mode");
    const char *name = node_str(mode);
    if (name && *name && !streq(name, "host"))
        diag_warning(d, &mode->mark, "service \"%s\": userns_mode is not supported: ignored",
                     s->name);
}

void warn_unsupported(const struct cli *cli, const struct project *p)
{
    struct diag d AUTODIAG = DIAG_INIT;
    for (size_t i = 0; i < p->services_n; i++) {
        const struct service *s = &p->services[i];
        for (size_t k = 0; k < ARRAY_SIZE(unsupported); k++) {
            const struct node *n = at_path(s->node, unsupported[k].path);
            if (n)
                diag_warning(&d, &n->mark, "service \"%s\": %s is not supported: %s", s->name,
                             unsupported[k].path, unsupported[k].what);
        }
        check_driver(&d, s);
        check_userns(&d, s);
    }
    cli_diagnostics(cli, &d);
}
