/* Any .env file: variables or errors. */
#include <stddef.h>
#include <stdint.h>

#include "file/dotenv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new();
    struct diag d AUTODIAG = DIAG_INIT;
    const struct pass p = {.arena = a, .diag = &d};
    struct env shell = {0}, vars = {0};
    struct unset_seen seen = {0};
    env_set(a, &shell, "A", "b", (struct mark){0});
    if (dotenv_parse(&p, ".env", (const char *)data, n, &shell, NULL, &vars, &seen) < 0 &&
        !d.errors)
        __builtin_trap();
    struct strbuf out AUTOBUF = STRBUF_INIT;
    env_print(&vars, &out);
    unset_seen_release(&seen);
    env_release(&vars);
    env_release(&shell);
    arena_free(a);
    return 0;
}
