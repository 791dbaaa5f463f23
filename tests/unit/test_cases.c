/* Whole projects: what a Compose file becomes, or what is said about it.
 *
 * A file in cases/ holds blocks. "#### NAME [OPTIONS]" starts one; "=== PATH" starts a file of the
 * project; "=== (model)" is followed by what config must print, "=== (errors)" by the first lines
 * of the errors, "=== (warnings)" by those of the warnings and "=== (diagnostics)" by all that is said
 * of the errors or, beside a model, of the warnings, where they matter. ${CASE} stands for the
 * project's folder, ${CASES} for the one that it lies in. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "file/load.h"
#include "model/encode.h"

#define CASES_DIR "tests/unit/cases"

struct test_case {
    char *name, *options;
    struct strbuf model, errors, warnings, diagnostics;
    bool has_model, has_errors, has_warnings, has_diagnostics;
    char *dir;
};

static char *const environment[] = {"HOME=/home/user", "PATH=/bin", "SHELL_PORT=zz", NULL};

static char *replace_all(const char *text, const char *from, const char *to)
{
    struct strbuf out = STRBUF_INIT;
    for (const char *at; (at = strstr(text, from)); text = at + strlen(from)) {
        strbuf_add(&out, text, (size_t)(at - text));
        strbuf_addstr(&out, to);
    }
    strbuf_addstr(&out, text);
    return strbuf_detach(&out);
}

static void write_file(const char *dir, const char *name, const struct strbuf *text)
{
    char *path AUTOFREE = path_join(dir, name);
    char *folder AUTOFREE = path_dir(path);
    assert_int_equal(fs_mkdir_p(folder, 0755, NULL), 0);
    assert_int_equal(fs_write_atomic(path, text->buf, text->len, 0644, false, NULL), 0);
}

/* Options as words; pointers into text. */
static size_t split(char *text, const char **words, size_t max)
{
    size_t n = 0;
    for (char *save, *w = strtok_r(text, " ", &save); w && n + 1 < max;
         w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    words[n] = NULL;
    return n;
}

static void add(const char **list, const char *value)
{
    while (*list)
        list++;
    list[0] = value;
    list[1] = NULL;
}

static void first_lines(const struct diag *d, enum diag_level level, struct strbuf *out)
{
    struct strbuf text AUTOBUF = STRBUF_INIT;
    diag_render(d, level, false, &text);
    const char *word = level == DIAG_ERROR ? "error: " : "warning: ";
    for (char *save, *line = strtok_r(text.buf, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        if (strstr(line, word) && line[0] != ' ')
            strbuf_addf(out, "%s\n", line);
}

static bool same(const struct test_case *c, const char *what, const char *got, const char *want)
{
    char *parent AUTOFREE = path_dir(c->dir);
    char *within AUTOFREE = replace_all(got, c->dir, "${CASE}");
    char *plain AUTOFREE = replace_all(within, parent, "${CASES}");
    if (streq(plain, want))
        return true;
    print_error("%s: %s differ\n--- want\n%s--- got\n%s---\n", c->name, what, want, plain);
    return false;
}

static bool run(struct test_case *c)
{
    const char *words[32], *files[16] = {NULL}, *env_files[8] = {NULL}, *profiles[8] = {NULL};
    struct load_options o = {.environ = environment, .cwd = c->dir};
    size_t n = split(c->options, words, 32);
    for (size_t i = 0; i < n; i++) {
        const char *value = i + 1 < n ? words[i + 1] : NULL;
        if (streq(words[i], "-f"))
            add(files, value), o.files = files, i++;
        else if (streq(words[i], "--env-file"))
            add(env_files, value), o.env_files = env_files, i++;
        else if (streq(words[i], "--profile"))
            add(profiles, value), o.profiles = profiles, i++;
        else if (streq(words[i], "-p"))
            o.project_name = value, i++;
        else if (streq(words[i], "--project-directory"))
            o.project_directory = value, i++;
        else if (streq(words[i], "--no-interpolate"))
            o.no_interpolate = true;
        else
            fail_msg("%s: unknown option %s", c->name, words[i]);
    }
    struct diag d AUTODIAG = DIAG_INIT;
    struct document doc;
    struct strbuf model AUTOBUF = STRBUF_INIT, errors AUTOBUF = STRBUF_INIT;
    struct strbuf warnings AUTOBUF = STRBUF_INIT;
    if (!document_load(&o, &doc, &d)) {
        encode_yaml(doc.root, o.no_interpolate ? ENCODE_UNTYPED | ENCODE_KEEP_DOLLAR : 0, &model);
        document_release(&doc);
    }
    first_lines(&d, DIAG_ERROR, &errors);
    first_lines(&d, DIAG_WARNING, &warnings);
    bool ok = (c->has_diagnostics && !c->has_errors) ||
              same(c, "errors", errors.buf, c->errors.buf);
    ok &= same(c, "models", model.buf, c->model.buf);
    if (c->has_warnings)
        ok &= same(c, "warnings", warnings.buf, c->warnings.buf);
    struct strbuf all AUTOBUF = STRBUF_INIT;
    diag_render(&d, c->has_model ? DIAG_WARNING : DIAG_ERROR, false, &all);
    if (c->has_diagnostics)
        ok &= same(c, "diagnostics", all.buf, c->diagnostics.buf);
    return ok;
}

static void release(struct test_case *c)
{
    if (c->dir)
        fs_remove_all(c->dir, NULL);
    free(c->name);
    free(c->options);
    free(c->dir);
    strbuf_release(&c->model);
    strbuf_release(&c->errors);
    strbuf_release(&c->warnings);
    strbuf_release(&c->diagnostics);
}

/* Reads the block that starts at *text and moves behind it. */
static void read_block(const char **text, struct test_case *c)
{
    *c = (struct test_case){.model = STRBUF_INIT,
                            .errors = STRBUF_INIT,
                            .warnings = STRBUF_INIT,
                            .diagnostics = STRBUF_INIT};
    const char *line = *text + strlen("#### ");
    size_t n = strcspn(line, "\n"), name = strcspn(line, " \n");
    c->name = xstrndup(line, name);
    c->options = xstrndup(line + name, n - name);
    /* The name of the folder is the name of the project. */
    char *parent AUTOFREE = xstrdup("/tmp/compose-case-XXXXXX");
    assert_non_null(mkdtemp(parent));
    c->dir = xasprintf("%s/case", parent);
    struct strbuf content AUTOBUF = STRBUF_INIT, *into = NULL;
    char *path AUTOFREE = NULL;
    for (line += n + 1;; line += n + 1) {
        n = strcspn(line, "\n");
        bool marker = starts_with(line, "=== ");
        bool end = !*line || starts_with(line, "#### ");
        if (marker || end) {
            if (path)
                write_file(c->dir, path, &content);
            strbuf_setlen(&content, 0);
            free(STEAL(path));
        }
        if (end)
            break;
        if (!marker) {
            strbuf_add(into ? into : &content, line, n);
            strbuf_addch(into ? into : &content, '\n');
        } else if (starts_with(line, "=== (model)")) {
            into = &c->model;
            c->has_model = true;
        } else if (starts_with(line, "=== (errors)")) {
            into = &c->errors;
            c->has_errors = true;
        } else if (starts_with(line, "=== (warnings)")) {
            into = &c->warnings;
            c->has_warnings = true;
        } else if (starts_with(line, "=== (diagnostics)")) {
            into = &c->diagnostics;
            c->has_diagnostics = true;
        } else {
            into = NULL;
            path = xstrndup(line + 4, n - 4);
        }
        if (!line[n])
            n--; /* the last line of the file has no end */
    }
    *text = line;
}

static void test_file(void **state)
{
    const char *path = *state;
    char *text AUTOFREE = NULL;
    assert_int_equal(fs_read(path, 4 << 20, &text, NULL, NULL), 0);
    size_t failed = 0, cases = 0;
    const char *at = strstr(text, "#### ");
    while (at && *at) {
        struct test_case c;
        read_block(&at, &c);
        assert_true(c.has_model ? !c.has_errors : c.has_errors || c.has_diagnostics);
        failed += !run(&c);
        cases++;
        char *parent AUTOFREE = path_dir(c.dir);
        release(&c);
        fs_remove_all(parent, NULL);
    }
    assert_true(cases > 0);
    assert_int_equal(failed, 0);
}

static int is_case_file(const struct dirent *e)
{
    return ends_with(e->d_name, ".case");
}

int main(void)
{
    struct dirent **entries;
    int n = scandir(CASES_DIR, &entries, is_case_file, alphasort);
    if (n <= 0) {
        fprintf(stderr, "no cases in " CASES_DIR "\n");
        return 1;
    }
    struct CMUnitTest *tests = xcalloc((size_t)n, sizeof(*tests));
    for (int i = 0; i < n; i++) {
        tests[i] = (struct CMUnitTest){.name = entries[i]->d_name, .test_func = test_file};
        tests[i].initial_state = xasprintf(CASES_DIR "/%s", entries[i]->d_name);
    }
    int failed = _cmocka_run_group_tests("cases", tests, (size_t)n, NULL, NULL);
    for (int i = 0; i < n; i++) {
        free(tests[i].initial_state);
        free(entries[i]);
    }
    free(entries);
    free(tests);
    return failed;
}
