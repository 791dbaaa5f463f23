/* A layer's tar stream to a folder that overlayfs takes as a lower layer.
 *
 * Whiteouts (OCI image-spec layer.md) become character devices 0/0 and trusted.overlay.opaque.
 * Owners are numeric; modes, times, xattrs, capabilities, devices, sparse files and long names are
 * kept. Nothing is written outside the folder, whatever names and links the archive holds: paths
 * are cleaned, and each parent is opened with openat2(RESOLVE_IN_ROOT), Linux 5.6. */
#ifndef IMAGE_MODULE_UNPACK_H
#define IMAGE_MODULE_UNPACK_H

#include <stdint.h>

#include "base/err.h"
#include "base/vec.h"
#include "image/module/ring.h"

/* What the layer does not hold itself and takes from the layers below, when they are all there. */
struct fixup {
    char *path;
    char *target; /* hard link to a file below; NULL: path is a folder without an entry of its own,
                     whose owner, mode and times are those of the folder below */
};

struct unpack_result {
    int64_t size; /* bytes of regular files */
    int64_t entries;
    bool opaque_root; /* hides all layers below */
    VEC(struct fixup) fixups;
};

/* Reads the tar from the ring to its end (also what follows the end mark) and writes it below dir,
 * which exists and is empty. Runs in a thread of its own: it changes the thread's umask. */
int unpack_tar(struct ring *in, const char *dir, struct unpack_result *result, struct err *err);
void unpack_result_release(struct unpack_result *result);

/* Completes the layer at dir from the trees below (bottom to top). work: an empty folder for a
 * private mount. */
int unpack_fixups(const char *dir, const struct unpack_result *result, const char *const *below,
                  const char *work, struct err *err);

/* Copies owner, mode, xattrs and times from one open file or folder to another. */
int copy_attributes(int from, int to, struct err *err);

#endif
