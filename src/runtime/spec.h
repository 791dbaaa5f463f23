/* The parts of a config.json: OCI runtime-spec 1.0.2, with what Docker 28 puts there. */
#ifndef RUNTIME_SPEC_H
#define RUNTIME_SPEC_H

#include <stdbool.h>

#include "runtime/bundle.h"
#include "runtime/caps.h"
#include "runtime/cdi.h"
#include "runtime/jsonw.h"
#include "runtime/user.h"

/* security_opt: */
struct security {
    bool seccomp_unconfined, no_new_privileges, paths_visible;
    char *seccomp_file; /* NULL: the default profile */
    char *apparmor;     /* profile, NULL: none */
};

/* What several parts need to know; made once by spec_init(). */
struct spec {
    const struct bundle_request *r;
    const struct service *service;
    char *run;    /* RUN/containers/ID */
    char *rootfs; /* mounted */
    caps caps;
    struct security security;
    struct user user;
    char **args, **env;
    char *cwd;
    bool tty, privileged;
    char *init;        /* host path of the init program, NULL: none */
    char *propagation; /* linux.rootfsPropagation, NULL: the runtime's default */
    struct cdi_edits cdi;
    bool crun; /* the runtime understands crun's annotations */
};

int spec_init(struct spec *s, const struct bundle_request *r, const char *rootfs, struct err *err);
void spec_release(struct spec *s);

/* The "process" object. */
void spec_process(struct spec *s, struct jsonw *w, const char *key);
/* What exec needs to make a process like the container's own: see exec.c. */
char *spec_exec_template(const struct spec *s);
int spec_mounts(struct spec *s, struct jsonw *w, struct err *err);
int spec_linux(struct spec *s, struct jsonw *w, struct err *err);

void spec_capabilities(caps c, struct jsonw *w);

/* The environment of a container or exec: `base` with each of `over` put in its place; "K" without
 * "=" removes K. Takes neither. */
void envp_put(char ***env, const char *assignment);
const char *envp_get(char *const *env, const char *key);

#endif
