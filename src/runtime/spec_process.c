/* Who runs what, where and with which rights: the "process" part. */
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "runtime/spec.h"

static const char default_path[] =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* [""] is how `--entrypoint ""` takes an entrypoint away. */
static bool is_blank(const char *const *v)
{
    return v && v[0] && !v[0][0] && !v[1];
}

static void append_all(char ***out, const char *const *v)
{
    for (size_t i = 0; v && v[i]; i++)
        strv_push(out, v[i]);
}

char **bundle_command(const struct bundle_request *r)
{
    const struct service *s = r->service;
    const struct image_config *image = &r->image->config;
    const char *const *entrypoint = NULL, *const *command = NULL;
    bool replaced = false; /* the entrypoint, with something: the image's CMD is not meant for it */
    if (r->entrypoint) {
        entrypoint = is_blank(r->entrypoint) ? NULL : r->entrypoint;
        replaced = true;
    } else if (s->has_entrypoint) {
        replaced = s->entrypoint.n > 0;
        entrypoint = is_blank(s->entrypoint.v) ? NULL : s->entrypoint.v;
    } else {
        entrypoint = (const char *const *)image->entrypoint;
    }
    if (r->command)
        command = r->command;
    else if (!r->entrypoint && s->has_command && s->command.n)
        command = s->command.v;
    else if (!replaced)
        command = (const char *const *)image->cmd;
    char **out = xcalloc(1, sizeof(*out));
    append_all(&out, entrypoint);
    append_all(&out, command);
    return out;
}

static size_t key_length(const char *assignment)
{
    return strcspn(assignment, "=");
}

void envp_put(char ***env, const char *assignment)
{
    size_t n = key_length(assignment);
    size_t i = 0;
    for (; *env && (*env)[i]; i++)
        if (key_length((*env)[i]) == n && strncmp((*env)[i], assignment, n) == 0)
            break;
    bool found = *env && (*env)[i];
    if (!assignment[n]) {
        if (!found)
            return;
        free((*env)[i]);
        for (; (*env)[i]; i++)
            (*env)[i] = (*env)[i + 1];
    } else if (found) {
        free((*env)[i]);
        (*env)[i] = xstrdup(assignment);
    } else {
        strv_push(env, assignment);
    }
}

const char *envp_get(char *const *env, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; env && env[i]; i++)
        if (strncmp(env[i], key, n) == 0 && env[i][n] == '=')
            return env[i] + n + 1;
    return NULL;
}

/* Docker's own first, then the service's and the image's (the service's wins), then run's. */
static char **make_env(const struct spec *s)
{
    const struct bundle_request *r = s->r;
    char **given = xcalloc(1, sizeof(*given));
    for (size_t i = 0; r->image->config.env && r->image->config.env[i]; i++)
        envp_put(&given, r->image->config.env[i]);
    char **env = NULL;
    strv_push(&env, default_path);
    char *hostname AUTOFREE = xasprintf("HOSTNAME=%s", r->hostname ? r->hostname : "");
    strv_push(&env, hostname);
    if (s->tty)
        strv_push(&env, "TERM=xterm");
    const struct key_values *own = &s->service->environment;
    for (size_t i = 0; i < own->n; i++) {
        const char *value = own->v[i].value;
        char *kv AUTOFREE = xasprintf("%s%s%s", own->v[i].key, value ? "=" : "",
                                      value ? value : "");
        envp_put(&given, kv);
    }
    for (size_t i = 0; r->environment && r->environment[i]; i++)
        envp_put(&given, r->environment[i]);
    for (size_t i = 0; given[i]; i++)
        envp_put(&env, given[i]);
    strv_free(given);
    return env;
}

/* The init that reaps orphans: Docker ships one of its own, here it is Debian's. */
static int find_init(char **out, struct err *err)
{
    static const char *const places[] = {"/usr/bin/tini-static", "/usr/local/bin/tini-static",
                                         "/usr/bin/docker-init", "/usr/libexec/docker/docker-init"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0) {
            *out = xstrdup(places[i]);
            return 0;
        }
    return err_set(err, ERR_NOT_FOUND,
                   "init: true needs tini-static: install the package \"tini\"");
}

static int make_args(struct spec *s, struct err *err)
{
    char **command AUTOSTRV = bundle_command(s->r);
    if (!command[0])
        return err_set(err, ERR_INVALID,
                       "no command specified: neither the service nor its image has one");
    if (s->service->init == 1) {
        if (find_init(&s->init, err) < 0)
            return -1;
        strv_push(&s->args, "/sbin/docker-init");
        strv_push(&s->args, "--");
    }
    append_all(&s->args, (const char *const *)command);
    return 0;
}

/* "name=value" or, as older files have it, "name:value". */
static bool option_is(const char *text, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(text, name, n) || (text[n] && text[n] != '=' && text[n] != ':'))
        return false;
    *value = text[n] ? text + n + 1 : NULL;
    return true;
}

static int security_option(const char *text, struct security *out, struct err *err)
{
    const char *v;
    if (option_is(text, "no-new-privileges", &v)) {
        if (v && strcasecmp(v, "true") && strcasecmp(v, "false") && !streq(v, "1") &&
            !streq(v, "0"))
            return err_set(err, ERR_INVALID, "invalid security_opt: \"%s\": want true or false",
                           text);
        out->no_new_privileges = !v || strcasecmp(v, "true") == 0 || streq(v, "1");
        return 0;
    }
    if (option_is(text, "seccomp", &v) && v) {
        out->seccomp_unconfined = streq(v, "unconfined");
        free(out->seccomp_file);
        out->seccomp_file = out->seccomp_unconfined || streq(v, "builtin") ? NULL : xstrdup(v);
        return 0;
    }
    if (option_is(text, "apparmor", &v) && v) {
        free(out->apparmor);
        out->apparmor = xstrdup(v);
        return 0;
    }
    if (option_is(text, "systempaths", &v) && v && streq(v, "unconfined")) {
        out->paths_visible = true;
        return 0;
    }
    /* SELinux labels mean nothing where SELinux is not in force, as to Docker. */
    if (option_is(text, "label", &v) && v)
        return 0;
    return err_set(err, ERR_INVALID, "invalid security_opt: \"%s\"", text);
}

static int security_parse(const struct service *service, struct security *out, struct err *err)
{
    *out = (struct security){0};
    for (size_t i = 0; i < service->security_opt.n; i++)
        if (security_option(service->security_opt.v[i], out, err) < 0)
            return -1;
    if (!service->privileged)
        return 0;
    out->seccomp_unconfined = out->seccomp_unconfined || !out->seccomp_file;
    out->paths_visible = true;
    return 0;
}

static void security_release(struct security *s)
{
    free(s->seccomp_file);
    free(s->apparmor);
}

/* Docker's profile is used where some Docker has loaded it; a kernel without AppArmor has none. */
static void choose_apparmor(struct spec *s)
{
    char *flag AUTOFREE = NULL, *profiles AUTOFREE = NULL;
    bool on = fs_read("/sys/module/apparmor/parameters/enabled", 16, &flag, NULL, NULL) == 0 &&
              flag[0] == 'Y';
    if (!on) {
        free(s->security.apparmor);
        s->security.apparmor = NULL;
    } else if (!s->security.apparmor && !s->privileged &&
               fs_read("/sys/kernel/security/apparmor/profiles", 4 << 20, &profiles, NULL, NULL) ==
                   0 &&
               strstr(profiles, "docker-default (enforce)")) {
        s->security.apparmor = xstrdup("docker-default");
    }
}

static char *make_cwd(const struct bundle_request *r)
{
    const char *dir = r->working_dir            ? r->working_dir
                      : r->service->working_dir ? r->service->working_dir
                                                : r->image->config.working_dir;
    char *absolute AUTOFREE = xasprintf("/%s", dir ? dir : "");
    return path_clean(absolute);
}

static int make_user(struct spec *s, struct err *err)
{
    const struct bundle_request *r = s->r;
    const char *spec = r->user            ? r->user
                       : s->service->user ? s->service->user
                                          : r->image->config.user;
    if (user_lookup(s->rootfs, spec, s->service->group_add.v, &s->user, err) < 0)
        return -1;
    if (!envp_get(s->env, "HOME")) {
        char *home AUTOFREE = xasprintf("HOME=%s", s->user.home);
        strv_push(&s->env, home);
    }
    return 0;
}

/* Devices bring variables and groups along. */
static int add_named_devices(struct spec *s, struct err *err)
{
    if (cdi_resolve(s->service, &s->user, &s->cdi, err) < 0)
        return -1;
    vec_foreach (&s->cdi.env, assignment)
        envp_put(&s->env, *assignment);
    vec_foreach (&s->cdi.groups, group)
        user_add_group(&s->user, *group);
    return 0;
}

int spec_init(struct spec *s, const struct bundle_request *r, const char *rootfs, struct err *err)
{
    *s = (struct spec){.r = r, .service = r->service, .rootfs = xstrdup(rootfs)};
    s->run = paths_container_run(r->paths, r->id);
    s->tty = r->tty >= 0 ? r->tty : s->service->tty;
    s->privileged = s->service->privileged;
    s->crun = r->runtime && streq(r->runtime->name, "crun");
    s->cwd = make_cwd(r);
    s->env = make_env(s);
    if (make_args(s, err) < 0 || make_user(s, err) < 0 || add_named_devices(s, err) < 0 ||
        security_parse(s->service, &s->security, err) < 0)
        return -1;
    choose_apparmor(s);
    if (s->privileged) {
        s->caps = caps_all();
        return 0;
    }
    return caps_resolve(s->service->cap_add.v, s->service->cap_drop.v, &s->caps, err);
}

void spec_release(struct spec *s)
{
    free(s->run);
    free(s->rootfs);
    free(s->cwd);
    free(s->init);
    free(s->propagation);
    strv_free(s->args);
    strv_free(s->env);
    user_release(&s->user);
    cdi_edits_release(&s->cdi);
    security_release(&s->security);
    *s = (struct spec){0};
}

void spec_capabilities(caps c, struct jsonw *w)
{
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    jsonw_object(w, "capabilities");
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        jsonw_array(w, sets[i]);
        for (unsigned n = 0; caps_name(n); n++)
            if (c & CAP_BIT(n))
                jsonw_str(w, NULL, caps_name(n));
        jsonw_end_array(w);
    }
    jsonw_end_object(w);
}

/* Members of process that depend on nothing but the service: rlimits, capabilities, ... */
static void spec_rlimits(const struct service *service, struct jsonw *w)
{
    if (!service->ulimits_n)
        return;
    jsonw_array(w, "rlimits");
    for (size_t i = 0; i < service->ulimits_n; i++) {
        const struct ulimit *u = &service->ulimits[i];
        char name[64] = "RLIMIT_";
        size_t n = strlen(name);
        for (const char *p = u->name; *p && n < sizeof(name) - 1; p++)
            name[n++] = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
        name[n] = '\0';
        jsonw_object(w, NULL);
        jsonw_str(w, "type", name);
        jsonw_uint(w, "hard", (uint64_t)u->hard); /* -1 is RLIM_INFINITY */
        jsonw_uint(w, "soft", (uint64_t)u->soft);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
}

static void write_user(const struct user *u, struct jsonw *w)
{
    jsonw_object(w, "user");
    jsonw_uint(w, "uid", u->uid);
    jsonw_uint(w, "gid", u->gid);
    jsonw_array(w, "additionalGids");
    for (size_t i = 0; i < u->groups_n; i++)
        jsonw_uint(w, NULL, u->groups[i]);
    jsonw_end_array(w);
    jsonw_end_object(w);
}

/* What the first process and every exec have in common. */
static void write_common(const struct spec *s, struct jsonw *w)
{
    int64_t oom = s->service->oom_score_adj;
    spec_rlimits(s->service, w);
    if (s->security.no_new_privileges)
        jsonw_bool(w, "noNewPrivileges", true);
    if (s->security.apparmor)
        jsonw_str(w, "apparmorProfile", s->security.apparmor);
    /* Always said: the monitor's own must not be inherited. */
    jsonw_int(w, "oomScoreAdj", oom == UNSET_OOM ? 0 : oom);
}

void spec_process(struct spec *s, struct jsonw *w, const char *key)
{
    jsonw_object(w, key);
    if (s->tty)
        jsonw_bool(w, "terminal", true);
    write_user(&s->user, w);
    jsonw_strv(w, "args", (const char *const *)s->args);
    jsonw_strv(w, "env", (const char *const *)s->env);
    jsonw_str(w, "cwd", s->cwd);
    spec_capabilities(s->caps, w);
    write_common(s, w);
    jsonw_end_object(w);
}

/* Capabilities travel as a number and the common part as text: exec.c puts them in as they are. */
char *spec_exec_template(const struct spec *s)
{
    struct jsonw common = JSONW_INIT, w = JSONW_INIT;
    write_common(s, &common);
    jsonw_object(&w, NULL);
    write_user(&s->user, &w);
    jsonw_str(&w, "home", s->user.home);
    jsonw_strv(&w, "env", (const char *const *)s->env);
    jsonw_str(&w, "cwd", s->cwd);
    jsonw_int(&w, "caps", (int64_t)s->caps);
    jsonw_strv(&w, "group_add", s->service->group_add.v);
    jsonw_str(&w, "common", common.out.buf);
    jsonw_str(&w, "filter",
              s->security.seccomp_unconfined ? "none"
              : s->security.seccomp_file     ? "other"
                                             : "default");
    jsonw_end_object(&w);
    strbuf_release(&common.out);
    return strbuf_detach(&w.out);
}
