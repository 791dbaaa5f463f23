#include "base/paths.h"

#include <limits.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

static const char *env_or(const char *name, const char *fallback)
{
    const char *v = getenv(name);
    return v && *v ? v : fallback;
}

int paths_init(struct paths *p, const char *root, struct err *err)
{
    if (!root)
        root = env_or("COMPOSE_ROOT", NULL);
    p->root = path_abs(NULL, root ? root : "/var/lib/compose");
    const char *run = env_or("COMPOSE_RUN", NULL);
    if (run)
        p->run = path_abs(NULL, run);
    else
        p->run = root ? path_join(p->root, "run") : xstrdup("/run/compose");
    if (fs_mkdir_p(p->root, 0711, err) < 0 || fs_mkdir_p(p->run, 0711, err) < 0) {
        paths_release(p);
        return -1;
    }
    return 0;
}

void paths_release(struct paths *p)
{
    free(p->root);
    free(p->run);
    *p = (struct paths){0};
}

char *paths_images(const struct paths *p)
{
    return xasprintf("%s/images", p->root);
}

char *paths_volume(const struct paths *p, const char *name)
{
    return xasprintf("%s/volumes/%s", p->root, name);
}

char *paths_network(const struct paths *p, const char *name)
{
    return xasprintf("%s/networks/%s", p->root, name);
}

char *paths_project(const struct paths *p, const char *project)
{
    return xasprintf("%s/projects/%s", p->root, project);
}

char *paths_container(const struct paths *p, const char *project, const char *id)
{
    return xasprintf("%s/projects/%s/containers/%s", p->root, project, id);
}

char *paths_network_run(const struct paths *p, const char *name)
{
    return xasprintf("%s/networks/%s", p->run, name);
}

char *paths_project_run(const struct paths *p, const char *project)
{
    return xasprintf("%s/projects/%s", p->run, project);
}

char *paths_container_run(const struct paths *p, const char *id)
{
    return xasprintf("%s/containers/%s", p->run, id);
}

char *paths_companion(const char *name)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return NULL;
    self[n] = '\0';
    char *dir AUTOFREE = path_dir(self);
    char *beside AUTOFREE = path_join(dir, name);
    if (access(beside, R_OK) == 0)
        return STEAL(beside);
    char *libexec AUTOFREE = xasprintf("%s/../libexec/compose/%s", dir, name);
    return access(libexec, R_OK) == 0 ? STEAL(libexec) : NULL;
}
