#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"

static const struct option options[] = {
    OPT_INT("index", 0, "Index of the container if service has multiple replicas"),
    OPT_STR("protocol", 0, "tcp or udp", .fallback = "tcp", .words = "tcp udp"),
    OPTION_END,
};

static const char *host_address(const struct container_port *p)
{
    return p->host_ip && *p->host_ip ? p->host_ip : "0.0.0.0";
}

static int no_port(const struct container_record *c, int64_t port, const char *protocol,
                   struct err *err)
{
    struct strbuf have AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < c->ports_n; i++) {
        const struct container_port *p = &c->ports[i];
        strbuf_addf(&have, "%s%u/%s", have.len ? ", " : "", p->published ? p->published : p->target,
                    p->protocol);
    }
    return err_set(err, ERR_NOT_FOUND, "no port %lld/%s for container %s: %s", (long long)port,
                   protocol, c->name, have.buf);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *service = args->positional[0];
    int64_t port;
    if (!parse_int(args->positional[1], &port) || port < 0 || port > 65535)
        return err_set(err, ERR_INVALID, "strconv.ParseUint: parsing \"%s\": invalid syntax",
                       args->positional[1]);
    char *protocol AUTOFREE = xstrdup(args_str(args, "protocol"));
    for (char *p = protocol; *p; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, NULL, err) < 0 || containers_read(cli, name, &list, err) < 0)
        return -1;
    struct container_record *c = container_choose(&list, service, args_int(args, "index"), true,
                                                  false, err);
    if (!c)
        return -1;
    for (size_t i = 0; i < c->ports_n; i++) {
        const struct container_port *p = &c->ports[i];
        if (p->target == port && p->published && streq(p->protocol, protocol)) {
            bool v6 = strchr(host_address(p), ':') != NULL;
            cli_outf("%s%s%s:%u\n", v6 ? "[" : "", host_address(p), v6 ? "]" : "", p->published);
            return 0;
        }
    }
    return no_port(c, port, protocol, err);
}

const struct command cmd_port = {
    .name = "port",
    .usage = "[OPTIONS] SERVICE PRIVATE_PORT",
    .summary = "Print the public port for a port binding",
    .options = options,
    .args_min = 2,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
