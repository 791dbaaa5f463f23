#include "file/pass.h"

#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "file/origin.h"

static void put_path(struct strbuf *out, const struct place *at, const struct place *stop)
{
    if (!at || at == stop)
        return;
    put_path(out, at->up, stop);
    if (at->key)
        strbuf_addf(out, "%s%s", out->len ? "." : "", at->key);
    else
        strbuf_addf(out, "[%zu]", at->index);
}

/* The step that names a service, network, ...: the second one below a section. */
static const struct place *named_step(const struct place *at, const char **what)
{
    static const struct {
        const char *section, *what;
    } sections[] = {
        {"services", "service"}, {"networks", "network"}, {"volumes", "volume"},
        {"secrets", "secret"},   {"configs", "config"},   {"models", "model"},
    };
    const struct place *named = NULL, *top = NULL;
    for (; at; at = at->up) {
        named = top;
        top = at;
    }
    if (!named || !named->key || !top->key)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
        if (streq(top->key, sections[i].section)) {
            *what = sections[i].what;
            return named;
        }
    return NULL;
}

const char *place_inner_path(struct arena *a, const struct place *at)
{
    struct strbuf buf AUTOBUF = STRBUF_INIT;
    const char *what;
    put_path(&buf, at, named_step(at, &what));
    return arena_strndup(a, buf.buf, buf.len);
}

bool pass_full(const struct pass *p, const struct mark *mark)
{
    if (arena_used(p->arena) <= PROJECT_MEMORY_MAX)
        return false;
    if (!p->diag->full)
        diag_error(p->diag, mark, "the project is too large: it takes more than %d MiB",
                   PROJECT_MEMORY_MAX >> 20);
    p->diag->full = true;
    return true;
}

static char *message(const struct place *at, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static char *message(const struct place *at, const char *fmt, va_list ap)
{
    struct strbuf buf AUTOBUF = STRBUF_INIT;
    const char *what;
    const struct place *named = named_step(at, &what);
    if (named)
        strbuf_addf(&buf, "%s \"%s\": ", what, named->key);
    strbuf_vaddf(&buf, fmt, ap);
    return strbuf_detach(&buf);
}

void pass_error(const struct pass *p, const struct place *at, const struct mark *mark,
                const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *msg AUTOFREE = message(at, fmt, ap);
    va_end(ap);
    diag_error(p->diag, mark, "%s", msg);
    pass_note(p, at, mark);
}

void pass_warning(const struct pass *p, const struct place *at, const struct mark *mark,
                  const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *msg AUTOFREE = message(at, fmt, ap);
    va_end(ap);
    diag_warning(p->diag, mark, "%s", msg);
    pass_note(p, at, mark);
}

void pass_note(const struct pass *p, const struct place *at, const struct mark *mark)
{
    const char *what;
    const struct place *named = named_step(at, &what);
    origins_note(p, named && streq(what, "service") ? named->key : NULL, mark);
}
