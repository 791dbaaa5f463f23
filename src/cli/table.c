#include "cli/table.h"

#include <stdarg.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/terminal.h"

static char ***next_row(struct table *t)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->rows = xrealloc(t->rows, t->cap * sizeof(*t->rows));
    }
    t->rows[t->n] = NULL;
    return &t->rows[t->n++];
}

void table_row(struct table *t, ...)
{
    char ***row = next_row(t);
    va_list ap;
    va_start(ap, t);
    for (const char *cell = va_arg(ap, const char *); cell; cell = va_arg(ap, const char *))
        strv_push(row, cell);
    va_end(ap);
}

void table_row_v(struct table *t, const char *const *cells)
{
    char ***row = next_row(t);
    for (; *cells; cells++)
        strv_push(row, *cells);
}

static size_t table_columns(const struct table *t)
{
    size_t columns = 0;
    for (size_t r = 0; r < t->n; r++) {
        size_t n = strv_len((const char *const *)t->rows[r]);
        columns = n > columns ? n : columns;
    }
    return columns;
}

void table_render(const struct table *t, struct strbuf *out)
{
    size_t columns = table_columns(t);
    int *width = xcalloc(columns + 1, sizeof(*width));
    for (size_t r = 0; r < t->n; r++) {
        /* Only a cell with one behind it makes its column wider. */
        for (size_t c = 0; t->rows[r] && t->rows[r][c] && t->rows[r][c + 1]; c++) {
            int w = text_width(t->rows[r][c]) + t->padding;
            width[c] = w > width[c] ? w : width[c];
        }
    }
    for (size_t r = 0; r < t->n; r++) {
        for (size_t c = 0; t->rows[r] && t->rows[r][c]; c++) {
            strbuf_addstr(out, t->rows[r][c]);
            if (!t->rows[r][c + 1])
                break;
            int w = width[c] < t->min_width ? t->min_width : width[c];
            strbuf_addf(out, "%*s", w - text_width(t->rows[r][c]), "");
        }
        strbuf_addch(out, '\n');
    }
    free(width);
}

void table_print(const struct table *t)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    table_render(t, &out);
    cli_out(out.buf, out.len);
}

void table_release(struct table *t)
{
    for (size_t r = 0; r < t->n; r++)
        strv_free(t->rows[r]);
    free(t->rows);
    t->rows = NULL;
    t->n = t->cap = 0;
}
