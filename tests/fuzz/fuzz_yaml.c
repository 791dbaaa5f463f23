/* Any bytes: a tree or errors, in bounded time and memory. */
#include <stddef.h>
#include <stdint.h>

#include "file/diag.h"
#include "file/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new();
    struct diag d AUTODIAG = DIAG_INIT;
    struct yaml_stream stream = {0};
    if (yaml_parse(a, "compose.yaml", (const char *)data, n, NULL, &stream, &d) < 0 && !d.errors)
        __builtin_trap();
    struct strbuf out AUTOBUF = STRBUF_INIT;
    diag_render(&d, DIAG_ERROR, false, &out);
    for (size_t i = 0; i < stream.n; i++)
        node_clone(a, stream.docs[i].root);
    arena_free(a);
    return 0;
}
