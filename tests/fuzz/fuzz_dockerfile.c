/* Any text may stand in a Dockerfile. */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "image/module/dockerfile.h"
#include "image/module/lint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_warning(void *ctx, const char *rule, const char *message, size_t line)
{
    (void)ctx, (void)rule, (void)message, (void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text AUTOFREE = xstrndup((const char *)data, n);
    const char *args[] = {"V=1", "TARGETARCH=amd64", NULL};
    base_images bases;
    dockerfile_bases(text, args, &bases);
    base_images_release(&bases);
    const struct lint_source source = {text, args, NULL, NULL};
    dockerfile_lint(&source, on_warning, NULL);
    return 0;
}
