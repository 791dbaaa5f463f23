/* `logging:` of a service, as its monitor takes it. */
#ifndef ENGINE_LOG_DRIVER_H
#define ENGINE_LOG_DRIVER_H

#include "base/err.h"
#include "engine/state.h"
#include "image/image.h"
#include "model/project.h"

/* Where the output goes besides the log file, and what is told of the container with it: what
 * monitor_request.log_sink holds; *sink NULL: nothing. Blocking: looks a name up, and whether the receiver
 * is there, which Docker demands too. */
int log_sink_make(const struct service *s, const struct container_record *c,
                  const struct image_config *image, char ***sink, struct err *err);

/* The log file: how it is rotated; enabled false: none is written. */
struct log_file_options {
    bool enabled;
    int64_t max_size; /* 0: no rotation */
    int max_file;
    bool compress; /* what is rotated away */
};
/* -1: an option is not as Docker wants it, and out is as if it were not given. */
int log_file_options_of(const struct logging *l, struct log_file_options *out, struct err *err);

#endif
