#include "cli/lifecycle.h"

#include "base/mem.h"
#include "cli/dialog.h"

void lifecycle_timeout(const struct args *args, json_t *request)
{
    if (args_given(args, "timeout"))
        request_int(request, "timeout", args_int(args, "timeout"));
}

int lifecycle_run(struct cli *cli, const struct args *args, json_t *request, const char *title,
                  struct err *err)
{
    char *name AUTOFREE = NULL;
    if (cli_project_name(cli, &name, args->positional, err) < 0 || cli_paths(cli, err) < 0)
        return -1;
    if (!project_is_known(cli, name))
        return 0;
    if (args->n)
        json_object_set_new(request, "services", jarray_from_strv(args->positional));
    return dialog_run(cli, name, request, title, NULL, err);
}
