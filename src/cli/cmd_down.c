#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/dialog.h"
#include "cli/image_commands.h"
#include "cli/image_jobs.h"
#include "cli/provider.h"
#include "cli/provision.h"

static const struct option options[] = {
    OPT_BOOL("remove-orphans", 0, "Remove containers for services not defined in the Compose file"),
    OPT_STR("rmi", 0,
            "Remove images used by services. \"local\" remove only images that don't have a custom "
            "tag (\"local\"|\"all\")",
            .words = "local all"),
    OPT_INT("timeout", 't', "Specify a shutdown timeout in seconds"),
    OPT_BOOL("volumes", 'v',
             "Remove named volumes declared in the \"volumes\" section of the Compose file and "
             "anonymous volumes attached to containers"),
    OPTION_END,
};

static void show_image(struct progress *p, const char *name, const char *text,
                       enum progress_state state)
{
    const char *base = strrchr(name, '/') ? strrchr(name, '/') : name;
    const char *tag = strpbrk(base, ":@") ? "" : ":latest";
    char *id AUTOFREE = xasprintf("Image %s%s", name, tag);
    progress_event(p, &(struct progress_event){.id = id, .status = text, .state = state});
}

/* Names of the images to remove: of the project's services, and of containers without a file. */
static char **images_to_remove(const struct project *p, const struct container_list *before,
                               bool local_only)
{
    char **names = NULL;
    for (size_t i = 0; p && i < p->services_n; i++) {
        const struct service *s = &p->services[i];
        char *name AUTOFREE = service_image_name(p, s);
        if (!local_only || (s->build && !s->image))
            strv_push(&names, name);
    }
    for (size_t i = 0; !p && i < before->n; i++) {
        const struct container_record *c = &before->v[i];
        char *own AUTOFREE = xasprintf("%s-%s", c->project, c->service);
        char *old AUTOFREE = xasprintf("%s_%s", c->project, c->service);
        if (c->image && (!local_only || streq(own, c->image) || streq(old, c->image)))
            strv_push(&names, c->image);
    }
    return names;
}

static int remove_images(struct cli *cli, char **names, struct err *err)
{
    struct image_store *store;
    struct progress progress;
    if (!names || cli_store(cli, &store, err) < 0)
        return names ? -1 : 0;
    char **in_use AUTOSTRV = images_in_use(cli);
    progress_init(&progress, cli, "Running");
    struct map seen AUTOMAP = MAP_INIT;
    for (size_t i = 0; names[i]; i++) {
        struct err why AUTOERR = ERR_INIT;
        struct image_change change = {0};
        if (map_set(&seen, names[i], ""))
            continue;
        show_image(&progress, names[i], "Removing", PROGRESS_WORKING);
        if (cli->dry_run ||
            image_remove(store, names[i], (const char *const *)in_use, false, &change, &why) == 0)
            show_image(&progress, names[i], "Removed", PROGRESS_DONE);
        else if (why.kind == ERR_NOT_FOUND)
            show_image(&progress, names[i], "Warning: No resource found to remove",
                       PROGRESS_WARNING);
        else if (why.kind == ERR_CONFLICT)
            show_image(&progress, names[i], "Resource is still in use", PROGRESS_WARNING);
        else
            show_image(&progress, names[i], why.msg, PROGRESS_ERROR);
        image_change_release(&change);
    }
    progress_flush(&progress);
    progress_release(&progress);
    return 0;
}

static json_t *down_request(const struct args *args, const struct project *project)
{
    json_t *request = request_new("down", args->positional);
    if (project)
        request_project(request, project);
    request_bool(request, "volumes", args_bool(args, "volumes"));
    request_bool(request, "remove_orphans",
                 args_given(args, "remove-orphans") ? args_bool(args, "remove-orphans")
                                                    : env_true("COMPOSE_REMOVE_ORPHANS"));
    if (args_given(args, "timeout"))
        request_int(request, "timeout", args_int(args, "timeout"));
    return request;
}

static int down(struct cli *cli, const struct args *args, const char *name,
                const struct project *project, struct err *err)
{
    struct container_list before AUTOCONTAINERS = {0};
    const char *rmi = args_str(args, "rmi");
    if (containers_read(cli, name, &before, err) < 0)
        return -1;
    if (!project_is_known(cli, name)) {
        if (!*rmi)
            cli_warn(cli, "Warning: No resource found to remove for project \"%s\".", name);
    } else {
        json_t *request AUTOJSON = down_request(args, project);
        int rc = dialog_run(cli, name, request, "Running", NULL, err);
        if (rc != 0)
            return rc;
    }
    if (!*rmi)
        return 0;
    char **images AUTOSTRV = images_to_remove(project, &before, streq(rmi, "local"));
    return remove_images(cli, images, err);
}

static int remove_provided(struct cli *cli, const struct args *args, struct project *p,
                           struct err *err)
{
    bool *selected AUTOFREE = NULL;
    if (!p)
        return 0;
    if (args->n && choose_services(p, args->positional, false, &selected, err) < 0)
        return -1;
    return providers_run(cli, p, selected, PROVIDER_DOWN, err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *rmi = args_str(args, "rmi");
    if (*rmi && !streq(rmi, "local") && !streq(rmi, "all"))
        return err_set(err, ERR_INVALID, "invalid value for --rmi: \"%s\"", rmi);
    char *name AUTOFREE = NULL;
    struct project *project;
    if (cli_project_if_any(cli, args->positional, &name, &project, err) < 0)
        return -1;
    struct project *stored = project ? NULL : provided_project(cli, name);
    int rc = project ? cli_check_services(project, args->positional, err) : 0;
    if (rc == 0)
        rc = down(cli, args, name, project, err);
    if (rc == 0)
        rc = remove_provided(cli, args, project ? project : stored, err);
    project_free(stored);
    project_free(project);
    return rc;
}

const struct command cmd_down = {
    .name = "down",
    .usage = "[OPTIONS] [SERVICES]",
    .summary = "Stop and remove containers, networks",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
