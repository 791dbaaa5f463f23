/* Two folders that should be the same, as layers unpacked twice should: what is different in one of
 * them, and how it becomes the same. */
#ifndef IMAGE_MODULE_TREE_H
#define IMAGE_MODULE_TREE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/vec.h"
#include "image/layout.h"

struct difference {
    char *path;          /* below the folders; "." is the folder itself */
    const char *what;    /* "has another content" */
    struct stat outside; /* of the folder that it lies in, as it should be */
};

struct file_link { /* of a file that has several names */
    char *path;
    ino_t inode;
    struct stat outside;
    bool differs;
};

struct tree_compare {
    int good, other; /* the folders, open */
    VEC(struct difference) differences;
    VEC(struct file_link) links;
    const struct stop *stop;
};

/* Names, types, modes, owners, sizes, contents, devices, attributes, links, and the times of all but
 * folders and whiteouts. */
int tree_compare(struct tree_compare *t, struct err *err);
/* Moves what differs from good to other, which is what it should be then; both lie on one file
 * system. Nothing is written in place: who has a file open keeps what it was. */
int tree_mend(struct tree_compare *t, struct err *err);
void tree_compare_release(struct tree_compare *t);

#endif
