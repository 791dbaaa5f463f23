#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/processes.h"
#include "cli/table.h"

static void add_process(struct table *t, const struct container_record *c, pid_t pid)
{
    struct process_info p;
    char number[16], id[16], parent[16], cpu[16];
    if (process_info(pid, &p, NULL) < 0)
        return;
    snprintf(number, sizeof(number), "%d", c->number);
    snprintf(id, sizeof(id), "%d", (int)p.pid);
    snprintf(parent, sizeof(parent), "%d", (int)p.ppid);
    snprintf(cpu, sizeof(cpu), "%u", p.cpu);
    table_row(t, c->service, number, p.user, id, parent, cpu, p.started, p.tty, p.time, p.command,
              NULL);
    free(p.command);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, NULL, err) < 0 || containers_read(cli, name, &list, err) < 0)
        return -1;
    struct table t AUTOTABLE = {.min_width = 4, .padding = 2};
    table_row(&t, "SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD", NULL);
    for (size_t i = 0; i < list.n; i++) {
        const struct container_record *c = &list.v[i];
        pid_t *pids AUTOFREE = NULL;
        if (!container_in_services(c, args->positional) || c->pid <= 0 || !container_is_up(c) ||
            processes_of(c->pid, &pids, NULL) < 0)
            continue;
        for (pid_t *pid = pids; *pid; pid++)
            add_process(&t, c, *pid);
    }
    if (t.n > 1)
        table_print(&t);
    return 0;
}

const struct command cmd_top = {
    .name = "top",
    .usage = "[SERVICES...]",
    .summary = "Display the running processes",
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
