/* Where everything lives. Two roots, both movable, so that tests and several users never meet. */
#ifndef BASE_PATHS_H
#define BASE_PATHS_H

#include "base/err.h"

struct paths {
    char *root; /* /var/lib/compose, --root, COMPOSE_ROOT: what survives a reboot */
    char *run;  /* /run/compose, COMPOSE_RUN, or ROOT/run when only the root was moved */
};

/* Resolves both roots (root: the --root option or NULL) and makes the folders, mode 0711. */
int paths_init(struct paths *p, const char *root, struct err *err);
void paths_release(struct paths *p);

/* Folders; heap. None is made.
 *   images            ROOT/images               OCI layout + layers/ (unpacked)
 *   volume            ROOT/volumes/NAME         volume.json, _data/
 *   network           ROOT/networks/NAME        network.json
 *   project           ROOT/projects/NAME        project.json, containers/
 *   container         ROOT/projects/P/containers/ID
 *   network_run       RUN/networks/NAME         endpoints/CONTAINER.json, addresses/
 *   project_run       RUN/projects/NAME         control.sock, lock
 *   container_run     RUN/containers/ID         monitor.sock, netns, OCI bundle
 */
char *paths_images(const struct paths *p);
char *paths_volume(const struct paths *p, const char *name);
char *paths_network(const struct paths *p, const char *name);
char *paths_project(const struct paths *p, const char *project);
char *paths_container(const struct paths *p, const char *project, const char *id);
char *paths_network_run(const struct paths *p, const char *name);
char *paths_project_run(const struct paths *p, const char *project);
char *paths_container_run(const struct paths *p, const char *id);

/* A program or module of ours that is installed beside the running one: looks in the executable's
 * folder, then in ../libexec/compose; heap. NULL when it is in neither. */
char *paths_companion(const char *name);

#endif
