#include "cli/listing.h"

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/format_func.h"
#include "cli/table.h"

static void print_table(const json_t *rows, const struct listing_column *columns)
{
    struct table t AUTOTABLE = TABLE_NARROW;
    char **head AUTOSTRV = NULL;
    for (const struct listing_column *c = columns; c->heading; c++)
        strv_push(&head, c->heading);
    table_row_v(&t, (const char *const *)head);
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        char **cells AUTOSTRV = NULL;
        for (const struct listing_column *c = columns; c->heading; c++) {
            struct strbuf cell AUTOBUF = STRBUF_INIT;
            format_value_text(json_object_get(row, c->field), &cell);
            strv_push(&cells, cell.buf);
        }
        table_row_v(&t, (const char *const *)cells);
    }
    table_print(&t);
}

static void print_json(const json_t *rows)
{
    size_t i;
    json_t *row, *value;
    const char *key;
    json_array_foreach (rows, i, row) {
        json_t *clean AUTOJSON = json_object();
        json_object_foreach (row, key, value) {
            if (key[0] != '_')
                json_object_set(clean, key, value);
        }
        cli_out_json(clean);
    }
}

static json_t *headings_of(const json_t *rows, const struct listing_column *columns,
                           const struct listing_column *more)
{
    json_t *h = json_object();
    const char *key;
    json_t *value;
    /* A field without a heading of its own is headed by its name in capitals. */
    json_object_foreach (json_array_get(rows, 0), key, value) {
        char *upper AUTOFREE = xstrdup(key);
        for (char *c = upper; *c; c++)
            *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
        jset_str(h, key, upper);
    }
    for (const struct listing_column *c = columns; c->heading; c++)
        jset_str(h, c->field, c->heading);
    for (const struct listing_column *c = more; c && c->heading; c++)
        jset_str(h, c->field, c->heading);
    return h;
}

/* A line of tab-separated cells. */
static void add_cells(struct table *t, char *line)
{
    char **cells AUTOSTRV = NULL;
    char *at = line, *cell;
    while ((cell = strsep(&at, "\t")))
        strv_push(&cells, cell);
    table_row_v(t, (const char *const *)cells);
}

static int print_template(const char *text, bool table, const json_t *rows,
                          const struct listing_column *columns, const struct listing_column *more,
                          struct err *err)
{
    char *plain AUTOFREE = format_unescape(text);
    struct format *f;
    if (format_parse(plain, &f, err) < 0)
        return -1;
    struct table t AUTOTABLE = TABLE_NARROW;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    int rc = 0;
    if (table) {
        json_t *h AUTOJSON = headings_of(rows, columns, more);
        rc = format_headings(f, h, &out, err);
        if (rc == 0)
            add_cells(&t, out.buf);
    }
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        strbuf_setlen(&out, 0);
        if (rc == 0)
            rc = format_execute(f, row, &out, err);
        if (rc == 0)
            add_cells(&t, out.buf);
    }
    format_free(f);
    if (rc < 0)
        return -1;
    if (table) {
        table_print(&t);
        return 0;
    }
    for (size_t r = 0; r < t.n; r++) {
        strbuf_setlen(&out, 0);
        for (size_t c = 0; t.rows[r] && t.rows[r][c]; c++)
            strbuf_addf(&out, "%s%s", c ? "\t" : "", t.rows[r][c]);
        strbuf_addch(&out, '\n');
        cli_out(out.buf, out.len);
    }
    return 0;
}

int listing_print(const char *format, const json_t *rows, const struct listing_column *columns,
                  const struct listing_column *headings, struct err *err)
{
    if (!*format || streq(format, "table")) {
        print_table(rows, columns);
        return 0;
    }
    if (streq(format, "json") || streq(format, "{{json .}}")) {
        print_json(rows);
        return 0;
    }
    bool table = starts_with(format, "table ");
    return print_template(table ? format + 6 : format, table, rows, columns, headings, err);
}
