/* Copies a tree with all that belongs to it: owners, modes, times, xattrs, hard links, holes,
 * devices, sockets excepted. Both ends are given as descriptors; nothing is followed out of them. */
#ifndef VOLUME_COPY_H
#define VOLUME_COPY_H

#include <stdbool.h>

#include "base/err.h"

/* Copies the content of folder from into folder to, and gives it from's attributes. resume: an
 * earlier copy was cut short; files that are there with their size and time are left. */
int tree_copy(int from, int to, bool resume, struct err *err);

#endif
