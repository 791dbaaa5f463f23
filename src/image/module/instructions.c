#include "image/module/instructions.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/words.h"

static const char BLANKS[] = " \t\v\f\r";

struct reader {
    const char *at;
    size_t line; /* the number of the one that was read last */
};

/* The next line without its end, false: there is none. */
static bool read_line(struct reader *r, struct strbuf *out)
{
    strbuf_setlen(out, 0);
    if (!*r->at)
        return false;
    size_t n = strcspn(r->at, "\n");
    strbuf_add(out, r->at, n);
    if (out->len && out->buf[out->len - 1] == '\r')
        strbuf_setlen(out, out->len - 1);
    r->at += n + (r->at[n] == '\n');
    r->line++;
    return true;
}

/* One here-document; what stands in it is added to body, where there is one. */
static void read_here_document(struct reader *r, const char *mark, struct strbuf *body)
{
    struct strbuf line AUTOBUF = STRBUF_INIT;
    while (read_line(r, &line) && !streq(line.buf + strspn(line.buf, "\t"), mark))
        if (body)
            strbuf_addf(body, "%s\n", line.buf);
}

/* RUN <<EOF, COPY <<-"A" <<B /x: those with a quoted mark are taken as they are. True: there is a
 * body. */
static bool read_here_documents(struct reader *r, const char *name, const char *rest,
                                struct strbuf *body)
{
    bool found = false;
    if (strcasecmp(name, "RUN") && strcasecmp(name, "COPY") && strcasecmp(name, "ADD"))
        return false;
    for (const char *p = rest; (p = strstr(p, "<<"));) {
        p += 2;
        p += *p == '-';
        bool quoted = *p == '"' || *p == '\'';
        p += quoted;
        size_t n = 0;
        while (isalnum((unsigned char)p[n]) || p[n] == '_')
            n++;
        char *mark AUTOFREE = n ? xstrndup(p, n) : NULL;
        if (mark)
            read_here_document(r, mark, quoted ? NULL : body);
        found = found || (mark && !quoted);
        p += n;
    }
    return found;
}

/* A directive stands before everything else. */
static char escape_of(const char *text)
{
    const char *directive = strcasestr(text, "# escape=`");
    size_t before = strspn(text, "# \t\nabcdefghijklmnopqrstuvwxyz=`./:-1234567890");
    return directive && before >= (size_t)(directive - text) ? '`' : '\\';
}

static void hand_on(struct reader *r, const char *whole, struct instruction *i,
                    void (*each)(void *ctx, const struct instruction *i), void *ctx)
{
    struct strbuf body AUTOBUF = STRBUF_INIT;
    i->rest = whole;
    char *name AUTOFREE = word_next(&i->rest);
    i->name = name;
    i->rest += strspn(i->rest, BLANKS);
    i->last = r->line;
    if (!name)
        return;
    i->body = read_here_documents(r, name, i->rest, &body) ? body.buf : NULL;
    each(ctx, i);
}

void dockerfile_instructions(const char *text, void (*each)(void *ctx, const struct instruction *i),
                             void *ctx)
{
    struct reader r = {.at = text};
    struct strbuf line AUTOBUF = STRBUF_INIT, whole AUTOBUF = STRBUF_INIT;
    struct instruction i = {.escape = escape_of(text)};
    bool going = false;
    while (read_line(&r, &line)) {
        const char *start = line.buf + strspn(line.buf, BLANKS);
        if (!*start || *start == '#') {
            i.hole = i.hole || (going && !*start);
            continue;
        }
        size_t n = strlen(start);
        while (isspace((unsigned char)start[n - 1]))
            n--;
        if (!going)
            i.line = r.line;
        going = start[n - 1] == i.escape;
        strbuf_add(&whole, start, going ? n - 1 : n);
        if (going && *r.at)
            continue;
        hand_on(&r, whole.buf, &i, each, ctx);
        strbuf_setlen(&whole, 0);
        i.hole = going = false;
    }
    if (whole.len) /* it ends in a line that goes on */
        hand_on(&r, whole.buf, &i, each, ctx);
}
