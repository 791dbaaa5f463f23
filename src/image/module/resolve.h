/* Paths that come from archives, resolved so that they cannot leave a folder. */
#ifndef IMAGE_MODULE_RESOLVE_H
#define IMAGE_MODULE_RESOLVE_H

/* Opens path below root as a process chrooted there would see it: links, absolute ones too, stay
 * inside (openat2(RESOLVE_IN_ROOT), Linux 5.6). O_CLOEXEC is added. -1 with errno. */
int open_beneath(int root, const char *path, int flags);

/* "./a//b/../c/" to "a/c", relative; "" is the root. NULL: it leads above the root. heap. */
char *clean_entry_path(const char *path);

#endif
