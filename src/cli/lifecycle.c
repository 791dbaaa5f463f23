#include "cli/lifecycle.h"

#include "base/mem.h"
#include "cli/containers.h"
#include "cli/dialog.h"

void lifecycle_timeout(const struct args *args, json_t *request)
{
    if (args_given(args, "timeout"))
        request_int(request, "timeout", args_int(args, "timeout"));
}

int lifecycle_load(struct lifecycle *l, struct cli *cli, const struct args *args, struct err *err)
{
    *l = (struct lifecycle){.cli = cli, .args = args};
    if (cli_project_if_any(cli, args->positional, &l->name, &l->project, err) < 0 ||
        (l->project && cli_check_services(l->project, args->positional, err) < 0))
        return -1;
    return cli_paths(cli, err);
}

void lifecycle_release(struct lifecycle *l)
{
    free(l->name);
    project_free(l->project);
}

bool lifecycle_concerns(const struct lifecycle *l, const struct container_record *c)
{
    if (l->args->n)
        return container_in_services(c, l->args->positional);
    return !l->project || project_service(l->project, c->service);
}

/* What is to run and has no container is an error; what is to stop is not. */
static bool needs_containers(const json_t *request)
{
    const char *op = jstr(request, "op", "");
    return streq(op, "start") || streq(op, "restart");
}

int lifecycle_send(struct lifecycle *l, json_t *request, const char *title, struct err *err)
{
    if (!project_is_known(l->cli, l->name) && !(l->project && needs_containers(request)))
        return 0;
    if (l->args->n)
        json_object_set_new(request, "services", jarray_from_strv(l->args->positional));
    if (l->project)
        request_project(request, l->project);
    return dialog_run(l->cli, l->name, request, title, NULL, err);
}

int lifecycle_run(struct cli *cli, const struct args *args, json_t *request, const char *title,
                  struct err *err)
{
    struct lifecycle l;
    int rc = lifecycle_load(&l, cli, args, err);
    if (rc == 0)
        rc = lifecycle_send(&l, request, title, err);
    lifecycle_release(&l);
    return rc;
}
