/* A program as a sealed file in memory.
 *
 * crun (and runc) must not run from a file that a container could write to through /proc/PID/exe (CVE-2019-5736):
 * started from their own they make such a copy and start once more from it, for each container anew. From a copy
 * that is sealed already they run at once, which saves a sixth of a start. */
#ifndef RUNTIME_SEALED_H
#define RUNTIME_SEALED_H

#include <sys/stat.h>

struct sealed_program {
    int fd; /* -1: none yet */
    struct stat of;
};

#define SEALED_PROGRAM_INIT ((struct sealed_program){.fd = -1})

/* A descriptor of the copy of path as it is now, borrowed until the next call; -1: there is none to be had. */
int sealed_program(struct sealed_program *s, const char *path);
void sealed_program_release(struct sealed_program *s);

#endif
