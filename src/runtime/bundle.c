#include "runtime/bundle.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/inroot.h"
#include "base/mem.h"
#include "runtime/cgroup.h"
#include "runtime/files.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"

/* crun takes the compiled filter as it is: it is then not compiled for each container. */
static void write_annotations(const struct spec *s, struct jsonw *w)
{
    const struct key_values *own = &s->service->annotations;
    jsonw_object(w, "annotations");
    for (size_t i = 0; i < own->n; i++)
        jsonw_str(w, own->v[i].key, own->v[i].value ? own->v[i].value : "");
    if (s->crun && !s->security.seccomp_unconfined && !s->security.seccomp_file) {
        char *cache AUTOFREE = path_join(s->r->paths->run, "seccomp");
        char *program AUTOFREE = seccomp_program(s->caps, cache);
        if (program)
            jsonw_str(w, "run.oci.seccomp_bpf_data", program);
    }
    jsonw_end_object(w);
}

static void write_strings(struct jsonw *w, const char *key, const struct node *list)
{
    if (!node_is(list, NODE_SEQUENCE))
        return;
    jsonw_array(w, key);
    for (size_t i = 0; i < list->count; i++)
        if (node_str(list->items[i]))
            jsonw_str(w, NULL, list->items[i]->string);
    jsonw_end_array(w);
}

static void write_hook(const struct node *n, struct jsonw *w)
{
    const struct node *timeout = node_get(n, "timeout");
    jsonw_object(w, NULL);
    jsonw_str(w, "path", node_get_str(n, "path"));
    write_strings(w, "args", node_get(n, "args"));
    write_strings(w, "env", node_get(n, "env"));
    if (node_is(timeout, NODE_INT))
        jsonw_int(w, "timeout", timeout->integer);
    jsonw_end_object(w);
}

/* What devices need to have done at the moments of the runtime specification. */
static void write_hooks(const struct spec *s, struct jsonw *w)
{
    jsonw_object(w, "hooks");
    for (size_t k = 0; cdi_hook_names[k]; k++) {
        bool any = false;
        vec_foreach (&s->cdi.hooks, hook) {
            if (!streq(node_get_str(*hook, "hookName"), cdi_hook_names[k]))
                continue;
            if (!any)
                jsonw_array(w, cdi_hook_names[k]);
            any = true;
            write_hook(*hook, w);
        }
        if (any)
            jsonw_end_array(w);
    }
    jsonw_end_object(w);
}

/* The whole config.json; heap in *text. */
static int spec_write(struct spec *s, char **text, struct err *err)
{
    struct jsonw w = JSONW_INIT;
    jsonw_object(&w, NULL);
    jsonw_str(&w, "ociVersion", "1.0.2");
    jsonw_object(&w, "root");
    jsonw_str(&w, "path", s->rootfs);
    if (s->service->read_only)
        jsonw_bool(&w, "readonly", true);
    jsonw_end_object(&w);
    /* A namespace that is not ours keeps its name. */
    bool own_uts = !s->r->uts_path && !(s->service->uts && streq(s->service->uts, "host"));
    if (own_uts && s->r->hostname)
        jsonw_str(&w, "hostname", s->r->hostname);
    spec_process(s, &w, "process");
    int rc = spec_mounts(s, &w, err);
    if (rc == 0)
        rc = spec_linux(s, &w, err);
    if (rc == 0 && s->cdi.hooks.n)
        write_hooks(s, &w);
    if (rc == 0)
        write_annotations(s, &w);
    jsonw_end_object(&w);
    if (rc == 0)
        *text = strbuf_detach(&w.out);
    strbuf_release(&w.out);
    return rc;
}

/* Docker makes a missing working folder, root's own, before anything is mounted over it. */
static int make_working_dir(const struct spec *s, struct err *err)
{
    int root AUTOCLOSE = inroot_dir(s->rootfs, err);
    if (root < 0)
        return -1;
    int made AUTOCLOSE = inroot_mkdir_p(root, s->cwd, 0755, 0, 0);
    if (made < 0)
        return err_sys(err, errno, "working directory \"%s\"", s->cwd);
    return 0;
}

static int write_in(const char *dir, const char *name, const char *text, struct err *err)
{
    char *path AUTOFREE = path_join(dir, name);
    return fs_write_atomic(path, text, strlen(text), 0600, false, err);
}

/* For the monitor, which looks for OOM kills there, and for oci_delete(). */
static int write_cgroup_folders(const struct spec *s, struct err *err)
{
    char **folders AUTOSTRV = cgroup_folders(s->r->cgroup_path);
    struct strbuf text AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; folders && folders[i]; i++)
        strbuf_addf(&text, "%s\n", folders[i]);
    return write_in(s->run, "cgroup", text.buf, err);
}

static int check_supported(const struct service *v, struct err *err)
{
    if (v->storage_opt.n)
        return err_set(err, ERR_INVALID,
                       "storage_opt: %s: sizes of root file systems cannot be limited with overlay",
                       v->storage_opt.v[0].key);
    if (v->isolation && *v->isolation && !streq(v->isolation, "default"))
        return err_set(err, ERR_INVALID, "isolation: %s: only \"default\" exists on Linux",
                       v->isolation);
    return 0;
}

static int write_all(struct spec *s, struct err *err)
{
    char *config AUTOFREE = NULL;
    if (files_write(s->r, err) < 0 || make_working_dir(s, err) < 0 ||
        spec_write(s, &config, err) < 0)
        return -1;
    char *process AUTOFREE = spec_exec_template(s);
    if (write_in(s->run, "config.json", config, err) < 0 ||
        write_in(s->run, "process.json", process, err) < 0)
        return -1;
    return write_cgroup_folders(s, err);
}

int bundle_write(const struct bundle_request *r, struct err *err)
{
    if (check_supported(r->service, err) < 0)
        return -1;
    char *run AUTOFREE = paths_container_run(r->paths, r->id);
    char *rootfs AUTOFREE = path_join(run, "rootfs");
    struct spec s;
    int rc = spec_init(&s, r, rootfs, err);
    if (rc == 0)
        rc = write_all(&s, err);
    spec_release(&s);
    return rc;
}
