/* Any text with variable references: a result or a fault that says what is wrong. */
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/mem.h"
#include "file/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Names with an even first letter are set. */
static const char *lookup(void *ctx, const char *name)
{
    (void)ctx;
    return name[0] % 2 ? NULL : "value $$ ${OTHER}";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new();
    char *text AUTOFREE = xstrndup((const char *)data, n);
    const struct template_vars vars = {.lookup = lookup};
    const char *out = NULL;
    struct template_error e = {0};
    int rc = template_substitute(a, text, &vars, &out, &e);
    if (rc == 0 ? !out : e.fault == TEMPLATE_OK)
        __builtin_trap();
    arena_free(a);
    return 0;
}
