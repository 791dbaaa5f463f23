/* A reference that is taken prints to a text that means the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "image/image.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const struct reference *ref)
{
    char *name AUTOFREE = reference_name(ref);
    char *familiar AUTOFREE = reference_familiar(ref);
    const char *forms[] = {name, familiar};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct reference again AUTOREFERENCE = REFERENCE_INIT;
        if (reference_parse(forms[i], &again, NULL) < 0)
            abort();
        char *same AUTOFREE = reference_name(&again);
        if (!streq(same, name))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text AUTOFREE = xstrndup((const char *)data, n);
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    struct err err AUTOERR = ERR_INIT;
    struct image_platform platform;
    if (reference_parse(text, &ref, &err) == 0)
        check(&ref);
    free(reference_shorten(text));
    image_platform_parse(text, &platform, NULL);
    return 0;
}
