/* A further process in a running container: like its own one, but for what is asked. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "runtime/spec.h"

/* The groups of exec's user. Without user: the container's, which the template has. */
static int write_exec_user(struct jsonw *w, const json_t *t, const char *run, const char *spec,
                           char **home, struct err *err)
{
    if (!spec || !*spec) {
        char *same AUTOFREE = json_dumps(json_object_get(t, "user"), JSON_COMPACT);
        jsonw_raw(w, "user", same ? same : "{}");
        *home = xstrdup(jstr(t, "home", "/"));
        return 0;
    }
    struct user u;
    char *rootfs AUTOFREE = path_join(run, "rootfs");
    char **groups AUTOSTRV = jarray_to_strv(json_object_get(t, "group_add"));
    int rc = user_lookup(rootfs, spec, (const char *const *)groups, &u, err);
    if (rc == 0) {
        jsonw_object(w, "user");
        jsonw_uint(w, "uid", u.uid);
        jsonw_uint(w, "gid", u.gid);
        jsonw_array(w, "additionalGids");
        for (size_t i = 0; i < u.groups_n; i++)
            jsonw_uint(w, NULL, u.groups[i]);
        jsonw_end_array(w);
        jsonw_end_object(w);
        *home = xstrdup(u.home);
    }
    user_release(&u);
    return rc;
}

static char **exec_env(const json_t *t, const struct exec_request *r, const char *home)
{
    char **env = jarray_to_strv(json_object_get(t, "env"));
    const char *before = envp_get(env, "HOME");
    /* HOME belongs to the user, unless the container was given one. */
    if (!before || streq(before, jstr(t, "home", ""))) {
        char *own AUTOFREE = xasprintf("HOME=%s", home);
        envp_put(&env, own);
    }
    if (r->tty && !envp_get(env, "TERM"))
        envp_put(&env, "TERM=xterm");
    for (size_t i = 0; r->environment && r->environment[i]; i++)
        envp_put(&env, r->environment[i]);
    return env;
}

static int write_process(struct jsonw *w, const json_t *t, const char *run,
                         const struct exec_request *r, struct err *err)
{
    char *home AUTOFREE = NULL;
    jsonw_object(w, NULL);
    if (r->tty)
        jsonw_bool(w, "terminal", true);
    if (write_exec_user(w, t, run, r->user, &home, err) < 0)
        return -1;
    char **env AUTOSTRV = exec_env(t, r, home);
    jsonw_strv(w, "args", r->command);
    jsonw_strv(w, "env", (const char *const *)env);
    const char *cwd = r->working_dir && *r->working_dir ? r->working_dir : jstr(t, "cwd", "/");
    char *base AUTOFREE = xasprintf("/%s", jstr(t, "cwd", ""));
    char *absolute AUTOFREE = path_abs(base, cwd);
    jsonw_str(w, "cwd", absolute);
    spec_capabilities(r->privileged ? caps_all() : (caps)jint(t, "caps", 0), w);
    /* Members as text; there is at least one. */
    strbuf_addch(&w->out, ',');
    strbuf_addstr(&w->out, jstr(t, "common", ""));
    jsonw_end_object(w);
    return 0;
}

int exec_process_write(const struct paths *p, const struct exec_request *r, char **path,
                       struct err *err)
{
    char *run AUTOFREE = paths_container_run(p, r->id);
    char *from AUTOFREE = path_join(run, "process.json");
    json_t *t AUTOJSON = NULL;
    if (json_read(from, &t, err) < 0)
        return err_wrap(err, "container %s", r->id);
    struct jsonw w = JSONW_INIT;
    char *file AUTOFREE = path_join(run, "exec.XXXXXX");
    int rc = write_process(&w, t, run, r, err);
    if (rc == 0) {
        int fd AUTOCLOSE = mkostemp(file, O_CLOEXEC);
        if (fd < 0 || fd_write_all(fd, w.out.buf, w.out.len) < 0)
            rc = err_sys(err, errno, "write %s", file);
    }
    strbuf_release(&w.out);
    if (rc == 0)
        *path = STEAL(file);
    return rc;
}

char *exec_text(const char *const *command)
{
    struct strbuf sb = STRBUF_INIT;
    strbuf_addf(&sb, "%s ", command[0]);
    for (size_t i = 1; command[i]; i++)
        strbuf_addf(&sb, "%s%s", i > 1 ? " " : "", command[i]);
    return strbuf_detach(&sb);
}
