/* How documents join: a later file over an earlier one, a service over the one that it extends;
 * and which elements of a sequence replace each other. */
#ifndef FILE_MERGE_H
#define FILE_MERGE_H

#include "file/pass.h"
#include "file/yaml.h"

/* Merges over into base, key by key as the table of fields says; both are used up. Values that do
 * not go together (a list over a mapping) are reported and the base is kept. */
struct node *merge_documents(const struct pass *p, struct node *base, struct node *over);
/* The same for one service. */
struct node *merge_services(const struct pass *p, const char *name, struct node *base,
                            struct node *over);
/* Of the elements that are the same by the rule of their key only the last is kept, in the place
 * of the first. */
void merge_unique(const struct pass *p, struct node *root);
/* Removes from root what stands where !reset or !override stood in the file that comes over it. */
void merge_reset(struct node *root, const struct node_path *paths, size_t n);

#endif
