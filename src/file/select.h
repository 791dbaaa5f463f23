/* Which parts of a project are active: profiles, services named by the user, resources in use. */
#ifndef FILE_SELECT_H
#define FILE_SELECT_H

#include "file/load.h"
#include "file/pass.h"

/* Moves the services without an active profile from root to *disabled. names: services whose
 * profiles are active too (NULL-terminated or NULL). */
void select_profiles(struct arena *a, struct node *root, const struct document_list *profiles,
                     const char *const *names, struct node **disabled);
/* Keeps the services that match names (patterns as in filepath.Match) and, with dependencies,
 * what they depend on; the rest is moved to disabled. A name that matches nothing is reported. */
void select_services(const struct pass *p, struct node *root, const char *const *names,
                     bool dependencies, struct node *disabled);
/* Drops networks, volumes, secrets, configs and models that no service uses. */
void select_resources(struct arena *a, struct node *root);

#endif
