/* Any bytes on the control socket: the server answers or closes, and what it takes for a project is
 * decoded like one. Operations are taken in but not run: there is no machine behind them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "engine/operation.h"
#include "engine/server.h"
#include "runtime/monitor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A listening socket without a name in the file system, and its address. */
static int listen_anywhere(struct sockaddr_un *addr, socklen_t *len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (fd < 0 || bind(fd, (struct sockaddr *)addr, sizeof(sa_family_t)) || listen(fd, 8))
        abort();
    *len = sizeof(*addr);
    getsockname(fd, (struct sockaddr *)addr, len);
    return fd;
}

static void send_bytes(int fd, const uint8_t *data, size_t n)
{
    int room = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    if (send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return;
    shutdown(fd, SHUT_WR);
}

static void drop_operations(struct engine *e)
{
    for (size_t i = 0; i < e->operations.n; i++) {
        struct operation *op = e->operations.v[i];
        json_decref(op->request);
        err_release(&op->failure);
        free(op);
    }
    vec_release(&e->operations);
}

static void through_the_socket(const uint8_t *data, size_t n)
{
    uv_loop_t loop;
    /* retiring: engine_kick() starts nothing */
    struct engine e = {.loop = &loop, .project_name = "fuzz", .retiring = true};
    struct sockaddr_un addr;
    socklen_t len;
    uv_loop_init(&loop);
    int listener = listen_anywhere(&addr, &len);
    uv_idle_init(&loop, &e.kick);
    e.server = server_new(&e, listener);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&addr, len))
        abort();
    send_bytes(fd, data, n);
    for (int turn = 0; turn < 8; turn++)
        uv_run(&loop, UV_RUN_NOWAIT);
    close(fd);
    for (int turn = 0; turn < 8; turn++)
        uv_run(&loop, UV_RUN_NOWAIT);
    server_close(e.server);
    uv_close((uv_handle_t *)&e.kick, NULL);
    while (uv_run(&loop, UV_RUN_NOWAIT))
        continue;
    drop_operations(&e);
    if (uv_loop_close(&loop))
        __builtin_trap();
}

/* What `up` and `run` do with the request before they touch anything. */
static void decode_request(const char *line, size_t n)
{
    json_t *request AUTOJSON = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    json_t *project = json_object_get(request, "project");
    struct err err AUTOERR = ERR_INIT;
    struct project_ref *ref = NULL;
    if (!json_is_object(project))
        return;
    if (project_ref_new(project, json_object_get(request, "environment"), false, &ref, &err) < 0) {
        if (!err.msg)
            __builtin_trap();
        return;
    }
    project_ref_put(ref);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text AUTOFREE = xstrndup((const char *)data, n);
    struct monitor_status status;
    monitor_status_parse(text, &status);
    through_the_socket(data, n);
    decode_request((const char *)data, strcspn(text, "\n"));
    return 0;
}
