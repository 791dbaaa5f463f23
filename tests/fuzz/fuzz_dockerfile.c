/* Any text may stand in a Dockerfile. */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "image/module/dockerfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text AUTOFREE = xstrndup((const char *)data, n);
    const char *args[] = {"V=1", "TARGETARCH=amd64", NULL};
    base_images bases;
    dockerfile_bases(text, args, &bases);
    base_images_release(&bases);
    return 0;
}
