#include "cli/help.h"

#include <stdio.h>

#include "base/mem.h"

enum { WRAP_SLOP = 5 /* a line may be this much longer if that spares a last short one */ };

const char *option_type(const struct option *o)
{
    if (o->type)
        return o->type;
    switch (o->kind) {
    case OPTION_BOOL:
        return "";
    case OPTION_INT:
        return "int";
    case OPTION_STRING:
        return "string";
    case OPTION_LIST:
        return "stringArray";
    case OPTION_WORDS:
        return "list";
    }
    return "";
}

static char *option_left(const struct option *o)
{
    const char *type = option_type(o);
    const char *gap = *type ? " " : "";
    return o->shorthand ? xasprintf("  -%c, --%s%s%s", o->shorthand, o->name, gap, type)
                        : xasprintf("      --%s%s%s", o->name, gap, type);
}

static char *option_text(const struct option *o)
{
    if (!o->fallback || !*o->fallback)
        return xstrdup(o->help);
    const char *quote = o->kind == OPTION_STRING ? "\"" : "";
    return xasprintf("%s (default %s%s%s)", o->help, quote, o->fallback, quote);
}

/* Where to break a text of which a line takes width characters. */
static size_t break_at(const char *s, int width)
{
    size_t soft = width > WRAP_SLOP ? (size_t)(width - WRAP_SLOP) : 1;
    size_t newline = strcspn(s, "\n");
    if (newline <= soft || (size_t)width >= strlen(s))
        return newline < strlen(s) ? newline : strlen(s);
    size_t at = soft;
    while (at > 0 && s[at - 1] != ' ')
        at--;
    return at > 1 ? at - 1 : strcspn(s, " \n");
}

static void add_wrapped(struct strbuf *out, const char *s, int indent, int width)
{
    int room = width - indent;
    if (room < 24) {
        indent = 16;
        room = width - indent;
        strbuf_addf(out, "\n%*s", indent, "");
    }
    for (;;) {
        size_t n = break_at(s, room);
        strbuf_add(out, s, n);
        s += n;
        if (!*s)
            break;
        s++;
        strbuf_addf(out, "\n%*s", indent, "");
    }
    strbuf_addch(out, '\n');
}

static size_t left_width(const struct option *const *tables)
{
    size_t widest = 0;
    for (size_t t = 0; tables[t]; t++) {
        for (const struct option *o = tables[t]; o->name; o++) {
            char *left AUTOFREE = option_left(o);
            if (!(o->flags & OPTION_HIDDEN) && strlen(left) > widest)
                widest = strlen(left);
        }
    }
    return widest + 3;
}

/* Merges the tables, which are sorted, into one sorted listing. */
static void add_options(struct strbuf *out, const struct option *const *tables, int width)
{
    size_t indent = left_width(tables);
    const struct option *at[4] = {tables[0]};
    size_t n = 0;
    for (; tables[n] && n < ARRAY_SIZE(at); n++)
        at[n] = tables[n];
    for (;;) {
        const struct option **first = NULL;
        for (size_t i = 0; i < n; i++) {
            if (at[i]->name && (!first || strcmp(at[i]->name, (*first)->name) < 0))
                first = &at[i];
        }
        if (!first)
            return;
        const struct option *o = (*first)++;
        if (o->flags & OPTION_HIDDEN)
            continue;
        char *left AUTOFREE = option_left(o);
        char *text AUTOFREE = option_text(o);
        strbuf_addf(out, "%-*s", (int)indent, left);
        add_wrapped(out, text, (int)indent, width);
    }
}

void help_usage(const char *prefix, const struct command *c, struct strbuf *out)
{
    const char *form = c->usage;
    for (bool first = true;; first = false) {
        size_t n = strcspn(form, "\n");
        strbuf_addf(out, "%s%s %s%s%.*s\n", first ? "Usage:  " : "\t", prefix, c->name,
                    n ? " " : "", (int)n, form);
        if (!form[n])
            return;
        form += n + 1;
    }
}

static void add_commands(struct strbuf *out, const struct command *const *list, bool ours)
{
    size_t widest = 0;
    for (size_t i = 0; list[i]; i++) {
        if (!(list[i]->flags & COMMAND_HIDDEN) && strlen(list[i]->name) > widest)
            widest = strlen(list[i]->name);
    }
    for (size_t i = 0; list[i]; i++) {
        if (!(list[i]->flags & COMMAND_HIDDEN) && ours == !!(list[i]->flags & COMMAND_OURS))
            strbuf_addf(out, "  %-*s  %s\n", (int)widest, list[i]->name, list[i]->summary);
    }
}

void help_command(const char *prefix, const struct command *c, int width, struct strbuf *out)
{
    help_usage(prefix, c, out);
    strbuf_addf(out, "\n%s\n", c->details ? c->details : c->summary);
    if (c->aliases) {
        strbuf_addf(out, "\nAliases:\n  %s %s", prefix, c->name);
        for (const char *a = c->aliases; *a; a += strcspn(a, " "), a += *a == ' ')
            strbuf_addf(out, ", %s %.*s", prefix, (int)strcspn(a, " "), a);
        strbuf_addch(out, '\n');
    }
    if (c->subcommands) {
        strbuf_addstr(out, "\nCommands:\n");
        add_commands(out, c->subcommands, false);
        strbuf_addf(out, "\nRun '%s %s COMMAND --help' for more information on a command.\n",
                    prefix, c->name);
        return;
    }
    strbuf_addstr(out, "\nOptions:\n");
    const struct option *const tables[] = {c->options ? c->options : common_options,
                                           c->options ? common_options : NULL, NULL};
    add_options(out, tables, width);
}

void help_program(const char *program, int width, struct strbuf *out)
{
    strbuf_addf(out,
                "Usage:  %s [OPTIONS] COMMAND\n\nDefine and run multi-container applications, "
                "without a daemon\n\nOptions:\n",
                program);
    const struct option *const tables[] = {global_options, common_options, NULL};
    add_options(out, tables, width);
    strbuf_addstr(out, "\nCommands:\n");
    add_commands(out, commands, false);
    strbuf_addstr(out, "\nFurther commands, which docker compose does not have:\n");
    add_commands(out, commands, true);
    strbuf_addf(out, "\nRun '%s COMMAND --help' for more information on a command.\n", program);
}
