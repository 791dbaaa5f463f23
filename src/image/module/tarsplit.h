/* containers/storage keeps of each layer the bytes of its tar that are not file contents
 * (github.com/vbatts/tar-split, "tar/storage": JSON lines, gzip). Together with the unpacked files
 * they are the tar again, bit by bit; the layer's digest says whether they still are. */
#ifndef IMAGE_MODULE_TARSPLIT_H
#define IMAGE_MODULE_TARSPLIT_H

#include "base/err.h"
#include "image/module/layer.h"

/* A layer_source in shape: gives the tar to the sink. */
int tarsplit_join(const char *split, const char *dir, struct layer_sink *sink, struct err *err);

#endif
