#include "cli/format.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/format_func.h"

enum { DEPTH_MAX = 64 };

enum node_type { NODE_TEXT, NODE_ACTION, NODE_IF, NODE_RANGE, NODE_WITH };

enum term_type { TERM_FIELD, TERM_CONST, TERM_FUNC, TERM_PIPE };

struct pipe;

struct term {
    enum term_type type;
    char **path;       /* TERM_FIELD: names, empty: the dot; TERM_PIPE: what follows ")" */
    json_t *value;     /* TERM_CONST */
    char *name;        /* TERM_FUNC */
    struct pipe *pipe; /* TERM_PIPE */
};

struct call {
    VEC(struct term) terms;
};

struct pipe {
    VEC(struct call) calls;
};

struct tnode {
    enum node_type type;
    char *text;
    struct pipe *pipe;
    struct tlist *then, *otherwise;
};

struct tlist {
    VEC(struct tnode) nodes;
};

struct format {
    struct tlist *root;
};

/* ---- parsing */

struct reader {
    const char *at;
    int depth;
    struct err *err;
};

static int broken(struct reader *r, const char *what)
{
    return err_set(r->err, ERR_INVALID, "template parsing error: template: :1: %s", what);
}

static void skip_space(struct reader *r)
{
    while (isspace((unsigned char)*r->at))
        r->at++;
}

/* At the end of an action: "}}" or "-}}". */
static bool at_close(const struct reader *r)
{
    return starts_with(r->at, "}}") || starts_with(r->at, "-}}");
}

static struct pipe *parse_pipe(struct reader *r);

static int parse_quoted(struct reader *r, struct term *t)
{
    char quote = *r->at++;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    while (*r->at && *r->at != quote) {
        char c = *r->at++;
        if (c == '\\' && quote == '"' && *r->at) {
            c = *r->at++;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        strbuf_addch(&text, c);
    }
    if (*r->at != quote)
        return broken(r, "unterminated quoted string");
    r->at++;
    t->type = TERM_CONST;
    t->value = json_stringn(text.buf, text.len);
    return t->value ? 0 : broken(r, "a string that is not valid UTF-8");
}

static void parse_path(struct reader *r, struct term *t)
{
    t->path = xcalloc(1, sizeof(*t->path));
    while (*r->at == '.') {
        r->at++;
        size_t n = 0;
        while (isalnum((unsigned char)r->at[n]) || r->at[n] == '_')
            n++;
        if (!n)
            break;
        char *name AUTOFREE = xstrndup(r->at, n);
        strv_push(&t->path, name);
        r->at += n;
    }
}

static int parse_number(struct reader *r, struct term *t)
{
    char *end;
    long long v = strtoll(r->at, &end, 0);
    t->type = TERM_CONST;
    if (*end == '.') {
        double d = strtod(r->at, &end);
        t->value = json_real(d);
    } else {
        t->value = json_integer(v);
    }
    r->at = end;
    return 0;
}

static int parse_term(struct reader *r, struct term *t)
{
    *t = (struct term){0};
    if (*r->at == '.') {
        t->type = TERM_FIELD;
        parse_path(r, t);
        return 0;
    }
    if (*r->at == '"' || *r->at == '`')
        return parse_quoted(r, t);
    if (isdigit((unsigned char)*r->at) || (*r->at == '-' && isdigit((unsigned char)r->at[1])))
        return parse_number(r, t);
    if (*r->at == '(') {
        r->at++;
        t->type = TERM_PIPE;
        t->pipe = parse_pipe(r);
        if (!t->pipe)
            return -1;
        skip_space(r);
        if (*r->at++ != ')')
            return broken(r, "unclosed left paren");
        if (*r->at == '.')
            parse_path(r, t);
        return 0;
    }
    size_t n = 0;
    while (isalnum((unsigned char)r->at[n]) || r->at[n] == '_')
        n++;
    char *word AUTOFREE = xstrndup(r->at, n);
    r->at += n;
    if (streq(word, "true") || streq(word, "false")) {
        t->type = TERM_CONST;
        t->value = json_boolean(streq(word, "true"));
        return 0;
    }
    if (!n || !format_func_known(word)) {
        char *what AUTOFREE = n ? xasprintf("function \"%s\" not defined", word)
                                : xasprintf("unexpected \"%.1s\" in operand", r->at);
        return broken(r, what);
    }
    t->type = TERM_FUNC;
    t->name = STEAL(word);
    return 0;
}

static void pipe_free(struct pipe *p)
{
    if (!p)
        return;
    vec_foreach (&p->calls, c) {
        vec_foreach (&c->terms, t) {
            strv_free(t->path);
            json_decref(t->value);
            free(t->name);
            pipe_free(t->pipe);
        }
        vec_release(&c->terms);
    }
    vec_release(&p->calls);
    free(p);
}

static struct pipe *parse_pipe(struct reader *r)
{
    struct pipe *p = xcalloc(1, sizeof(*p));
    if (++r->depth > DEPTH_MAX) {
        broken(r, "nested too deeply");
        goto fail;
    }
    for (;;) {
        struct call call = {0};
        for (;;) {
            skip_space(r);
            if (!*r->at || *r->at == '|' || *r->at == ')' || at_close(r))
                break;
            struct term t;
            int rc = parse_term(r, &t);
            vec_push(&call.terms, t);
            if (rc < 0) {
                vec_push(&p->calls, call);
                goto fail;
            }
        }
        bool empty = call.terms.n == 0;
        vec_push(&p->calls, call);
        if (empty) {
            broken(r, *r->at ? "missing value for command" : "unclosed action");
            goto fail;
        }
        if (*r->at != '|')
            break;
        r->at++;
    }
    r->depth--;
    return p;
fail:
    pipe_free(p);
    return NULL;
}

static void list_free(struct tlist *l)
{
    if (!l)
        return;
    vec_foreach (&l->nodes, n) {
        free(n->text);
        pipe_free(n->pipe);
        list_free(n->then);
        list_free(n->otherwise);
    }
    vec_release(&l->nodes);
    free(l);
}

static int close_action(struct reader *r)
{
    skip_space(r);
    bool trim = starts_with(r->at, "-}}");
    if (!at_close(r))
        return broken(r, *r->at ? "unexpected text in action" : "unclosed action");
    r->at += trim ? 3 : 2;
    if (trim)
        skip_space(r);
    return 0;
}

static bool take_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(r->at, word, n) != 0 || isalnum((unsigned char)r->at[n]))
        return false;
    r->at += n;
    skip_space(r);
    return true;
}

enum ending { END_OF_TEXT, END_ELSE, END_END, END_FAILED };
static enum ending parse_list(struct reader *r, struct tlist **out);

/* Behind "if", "range" or "with": condition, body, and what follows "else". */
static int parse_block(struct reader *r, struct tnode *n)
{
    n->pipe = parse_pipe(r);
    if (!n->pipe || close_action(r) < 0)
        return -1;
    enum ending end = parse_list(r, &n->then);
    if (end == END_ELSE) {
        if (take_word(r, "if")) {
            n->otherwise = xcalloc(1, sizeof(*n->otherwise));
            struct tnode inner = {.type = NODE_IF};
            int rc = parse_block(r, &inner);
            vec_push(&n->otherwise->nodes, inner);
            return rc;
        }
        if (close_action(r) < 0)
            return -1;
        end = parse_list(r, &n->otherwise);
    }
    if (end == END_FAILED)
        return -1;
    return end == END_END ? close_action(r) : broken(r, "unexpected EOF");
}

/* An action that is neither else nor end. */
static int parse_action(struct reader *r, struct tnode *n)
{
    if (starts_with(r->at, "/*")) {
        const char *end = strstr(r->at, "*/");
        if (!end)
            return broken(r, "unclosed comment");
        r->at = end + 2;
        n->text = xstrdup("");
        return close_action(r);
    }
    if (take_word(r, "if"))
        n->type = NODE_IF;
    else if (take_word(r, "range"))
        n->type = NODE_RANGE;
    else if (take_word(r, "with"))
        n->type = NODE_WITH;
    else {
        n->type = NODE_ACTION;
        n->pipe = parse_pipe(r);
        return n->pipe ? close_action(r) : -1;
    }
    return parse_block(r, n);
}

static enum ending parse_list(struct reader *r, struct tlist **out)
{
    struct tlist *l = *out = xcalloc(1, sizeof(*l));
    if (++r->depth > DEPTH_MAX) {
        broken(r, "nested too deeply");
        return END_FAILED;
    }
    for (;;) {
        const char *open = strstr(r->at, "{{");
        size_t n = open ? (size_t)(open - r->at) : strlen(r->at);
        bool trim = open && starts_with(open, "{{-") && isspace((unsigned char)open[3]);
        size_t keep = n;
        while (trim && keep && isspace((unsigned char)r->at[keep - 1]))
            keep--;
        if (keep)
            vec_push(&l->nodes, (struct tnode){.type = NODE_TEXT, .text = xstrndup(r->at, keep)});
        if (!open)
            return END_OF_TEXT;
        r->at = open + (trim ? 3 : 2);
        skip_space(r);
        if (take_word(r, "else")) {
            r->depth--;
            return END_ELSE;
        }
        if (take_word(r, "end")) {
            r->depth--;
            return END_END;
        }
        struct tnode node = {.type = NODE_TEXT};
        int rc = parse_action(r, &node);
        vec_push(&l->nodes, node);
        if (rc < 0)
            return END_FAILED;
    }
}

int format_parse(const char *text, struct format **out, struct err *err)
{
    struct reader r = {.at = text, .err = err};
    struct format *t = xcalloc(1, sizeof(*t));
    enum ending end = parse_list(&r, &t->root);
    if (end == END_OF_TEXT) {
        *out = t;
        return 0;
    }
    if (end != END_FAILED)
        broken(&r, end == END_ELSE ? "unexpected {{else}}" : "unexpected {{end}}");
    format_free(t);
    return -1;
}

void format_free(struct format *t)
{
    if (!t)
        return;
    list_free(t->root);
    free(t);
}

char *format_unescape(const char *text)
{
    struct strbuf out = STRBUF_INIT;
    for (; *text; text++) {
        if (text[0] == '\\' && (text[1] == 't' || text[1] == 'n')) {
            strbuf_addch(&out, text[1] == 't' ? '\t' : '\n');
            text++;
        } else {
            strbuf_addch(&out, *text);
        }
    }
    return strbuf_detach(&out);
}

/* ---- execution */

struct run {
    const json_t *root;
    bool headings; /* a field that is missing gives its own name in capitals */
    struct err *err;
};

static int eval_pipe(struct run *r, const struct pipe *p, const json_t *dot, json_t **out);

static int eval_field(struct run *r, const struct term *t, const json_t *dot, json_t **out)
{
    const json_t *v = dot;
    for (char **name = t->path; name && *name; name++) {
        const json_t *next = json_object_get(v, *name);
        if (!next && r->headings) {
            *out = json_string("");
            return 0;
        }
        if (!next)
            return err_set(r->err, ERR_INVALID,
                           "template: :1: executing \"\" at <.%s>: can't evaluate field %s", *name,
                           *name);
        v = next;
    }
    *out = json_incref((json_t *)v);
    return 0;
}

static int eval_term(struct run *r, const struct term *t, const json_t *dot, json_t **out)
{
    switch (t->type) {
    case TERM_FIELD:
        return eval_field(r, t, dot, out);
    case TERM_CONST:
        *out = json_incref(t->value);
        return 0;
    case TERM_FUNC:
        return format_func_call(t->name, NULL, 0, out, r->err);
    case TERM_PIPE:
        break;
    }
    json_t *value AUTOJSON = NULL;
    return eval_pipe(r, t->pipe, dot, &value) < 0 ? -1 : eval_field(r, t, value, out);
}

/* {{.Label "key"}} */
static bool is_label(const struct call *c)
{
    const struct term *t = &c->terms.v[0];
    return c->terms.n == 2 && t->type == TERM_FIELD && t->path[0] && !t->path[1] &&
           streq(t->path[0], "Label");
}

static int eval_label(struct run *r, const struct call *c, const json_t *dot, json_t **out)
{
    json_t *key AUTOJSON = NULL;
    if (eval_term(r, &c->terms.v[1], dot, &key) < 0)
        return -1;
    const char *name = json_string_value(key);
    if (r->headings) {
        *out = json_string(name ? name : "");
        return 0;
    }
    *out = json_string(jstr(json_object_get(dot, "_labels"), name ? name : "", ""));
    return 0;
}

static int eval_call(struct run *r, const struct call *c, const json_t *dot, json_t *piped,
                     json_t **out)
{
    const struct term *first = &c->terms.v[0];
    if (is_label(c))
        return eval_label(r, c, dot, out);
    if (first->type != TERM_FUNC) {
        if (c->terms.n > 1 || piped)
            return err_set(r->err, ERR_INVALID,
                           "template: :1: executing \"\": can't give argument to non-function");
        return eval_term(r, first, dot, out);
    }
    enum { ARGS_MAX = 16 };
    json_t *args[ARGS_MAX];
    size_t n = 0;
    int rc = 0;
    for (size_t i = 1; i < c->terms.n && n < ARGS_MAX - 1 && rc == 0; i++) {
        rc = eval_term(r, &c->terms.v[i], dot, &args[n]);
        n += rc == 0;
    }
    if (rc == 0 && piped)
        args[n++] = json_incref(piped);
    if (rc == 0 && r->headings && n)
        *out = json_incref(args[n - 1]); /* {{json .Name}} is headed as {{.Name}} */
    else if (rc == 0)
        rc = format_func_call(first->name, args, n, out, r->err);
    while (n)
        json_decref(args[--n]);
    return rc;
}

static int eval_pipe(struct run *r, const struct pipe *p, const json_t *dot, json_t **out)
{
    json_t *value = NULL;
    for (size_t i = 0; i < p->calls.n; i++) {
        json_t *next = NULL;
        int rc = eval_call(r, &p->calls.v[i], dot, value, &next);
        json_decref(value);
        if (rc < 0)
            return -1;
        value = next;
    }
    *out = value;
    return 0;
}

static int run_list(struct run *r, const struct tlist *l, const json_t *dot, struct strbuf *out);

static int run_range(struct run *r, const struct tnode *n, const json_t *value, const json_t *dot,
                     struct strbuf *out)
{
    size_t i;
    json_t *item;
    const char *key;
    if (json_array_size(value) == 0 && json_object_size(value) == 0)
        return n->otherwise ? run_list(r, n->otherwise, dot, out) : 0;
    json_array_foreach (value, i, item) {
        if (run_list(r, n->then, item, out) < 0)
            return -1;
    }
    json_object_foreach ((json_t *)value, key, item) {
        if (run_list(r, n->then, item, out) < 0)
            return -1;
    }
    return 0;
}

static int run_node(struct run *r, const struct tnode *n, const json_t *dot, struct strbuf *out)
{
    if (n->type == NODE_TEXT) {
        strbuf_addstr(out, n->text);
        return 0;
    }
    json_t *value AUTOJSON = NULL;
    if (eval_pipe(r, n->pipe, dot, &value) < 0)
        return -1;
    if (n->type == NODE_ACTION) {
        format_value_text(value, out);
        return 0;
    }
    if (n->type == NODE_RANGE)
        return run_range(r, n, value, dot, out);
    bool on = format_value_true(value);
    const struct tlist *l = on ? n->then : n->otherwise;
    return l ? run_list(r, l, on && n->type == NODE_WITH ? value : dot, out) : 0;
}

static int run_list(struct run *r, const struct tlist *l, const json_t *dot, struct strbuf *out)
{
    for (size_t i = 0; i < l->nodes.n; i++) {
        if (run_node(r, &l->nodes.v[i], dot, out) < 0)
            return -1;
    }
    return 0;
}

int format_execute(const struct format *t, const json_t *data, struct strbuf *out, struct err *err)
{
    struct run r = {.root = data, .err = err};
    return run_list(&r, t->root, data, out);
}

int format_headings(const struct format *t, const json_t *headings, struct strbuf *out,
                    struct err *err)
{
    struct run r = {.root = headings, .headings = true, .err = err};
    return run_list(&r, t->root, headings, out);
}
