#include "file/yaml.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "file/history.h"
#include "file/origin.h"
#include "file/pass.h"
#include "file/scalar.h"

#define MERGE_TAG "tag:yaml.org,2002:merge"

enum { KEYS_MAX = 1024, KEY_LENGTH_MAX = 32, TEXT_BLOCK = 4096 };

/* An alias that is being carried out: what its nodes carry in their marks. What had come into the
 * anchor by another alias came by both; the last such pair is remembered. */
struct expansion {
    unsigned alias, from, to;
};

struct composer {
    yaml_parser_t parser;
    struct arena *arena;
    const char *file, *text;
    size_t len;
    bool special_tags; /* !reset or !override is somewhere in the text */
    struct diag *diag;
    struct map anchors; /* name -> struct anchor; as in the reference, of documents before too */
    struct origins *origins;
    struct history *history;
    size_t nodes, alias_nodes;
    struct expansion expansion;
    int depth;
    VEC(struct node_pair) open; /* members of the collections at work; of sequences the values */
    const char *keys[KEYS_MAX]; /* one copy of each key that is used again, by hash */
    char *block;                /* strings are packed: most are short */
    size_t block_left;
};

static const char *copy_text(struct composer *c, const char *s, size_t len)
{
    if (len >= TEXT_BLOCK / 4)
        return arena_strndup(c->arena, s, len);
    if (len + 1 > c->block_left) {
        c->block = arena_alloc(c->arena, TEXT_BLOCK);
        c->block_left = TEXT_BLOCK;
    }
    char *copy = c->block;
    memcpy(copy, s, len);
    copy[len] = '\0';
    c->block += len + 1;
    c->block_left -= len + 1;
    return copy;
}

/* The same, with one copy for all that are alike: keys mostly are. */
static const char *share_text(struct composer *c, const char *s, size_t len)
{
    if (len > KEY_LENGTH_MAX || strlen(s) != len)
        return copy_text(c, s, len);
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)s[i]) * 16777619u;
    const char **slot = &c->keys[hash % KEYS_MAX];
    if (!*slot || !streq(*slot, s))
        *slot = copy_text(c, s, len);
    return *slot;
}

struct anchor {
    struct node *node;
    bool open; /* still being composed: an alias to it would contain itself */
};

static unsigned count_from_1(size_t n)
{
    return n < MARK_MAX ? (unsigned)n + 1 : MARK_MAX;
}

static struct mark mark_of(const struct composer *c, const yaml_mark_t *m)
{
    return (struct mark){
        .file = c->file, .line = count_from_1(m->line), .col = count_from_1(m->column)};
}

static struct mark mark_at(const struct composer *c, size_t offset)
{
    struct mark m = {.file = c->file, .line = 1, .col = 1};
    for (size_t i = 0; i < offset && i < c->len; i++) {
        m.col++;
        if (c->text[i] == '\n') {
            m.line++;
            m.col = 1;
        }
    }
    return m;
}

/* Marks count characters, and a byte order mark is none. */
static size_t offset_of(const struct composer *c, const yaml_mark_t *m)
{
    size_t at = c->len >= 3 && memcmp(c->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (size_t n = 0; at < c->len && n < m->index; n++)
        do
            at++;
        while (at < c->len && ((unsigned char)c->text[at] & 0xc0) == 0x80);
    return at;
}

static const char *opened_at(const struct composer *c, const yaml_mark_t *m)
{
    size_t at = offset_of(c, m);
    switch (at < c->len ? c->text[at] : '\0') {
    case '[':
        return "list";
    case '{':
        return "mapping";
    case '"':
    case '\'':
        return "quoted text";
    default:
        return NULL;
    }
}

/* A text that ends too early is wrong where that begins which is still open: a quote, or the innermost collection.
 * False: it is another mistake. */
static bool unclosed(struct composer *c)
{
    const yaml_parser_t *p = &c->parser;
    for (size_t i = offset_of(c, &p->problem_mark); i < c->len; i++)
        if (!strchr(" \t\r\n", c->text[i]))
            return false;
    const yaml_mark_t *mark = p->context ? &p->context_mark : NULL;
    const char *what = mark ? opened_at(c, mark) : NULL;
    if (!what && p->marks.top > p->marks.start) {
        mark = p->marks.top - 1;
        what = opened_at(c, mark);
    }
    if (!what)
        return false;
    struct mark m = mark_of(c, mark);
    diag_error(c->diag, &m, "YAML syntax: the %s that begins here is not closed", what);
    return true;
}

/* libyaml's complaint, in better words where the cause is plain. */
static int syntax_error(struct composer *c)
{
    const yaml_parser_t *p = &c->parser;
    if (p->error == YAML_READER_ERROR) {
        struct mark m = mark_at(c, p->problem_offset);
        if (p->problem_offset < c->len && c->text[p->problem_offset] == '\0')
            diag_error(c->diag, &m, "NUL byte: this is no text file");
        else if (strstr(p->problem, "UTF-8"))
            diag_error(c->diag, &m, "invalid UTF-8: %s", p->problem);
        else
            diag_error(c->diag, &m, "%s", p->problem);
        return -1;
    }
    if (unclosed(c))
        return -1;
    struct mark m = mark_of(c, &p->problem_mark);
    size_t at = offset_of(c, &p->problem_mark);
    if (at < c->len && c->text[at] == '\t')
        diag_error(c->diag, &m, "a tab cannot indent in YAML: use spaces");
    else
        diag_error(c->diag, &m, "YAML syntax: %s", p->problem ? p->problem : "out of memory");
    if (p->context && p->context_mark.line != p->problem_mark.line) {
        struct mark context = mark_of(c, &p->context_mark);
        diag_note(c->diag, &context, "%s", p->context);
    }
    return -1;
}

static int next_event(struct composer *c, yaml_event_t *e)
{
    return yaml_parser_parse(&c->parser, e) ? 0 : syntax_error(c);
}

/* The mark as copies of what stands there have it. */
static struct mark expand_mark(struct composer *c, struct mark m)
{
    struct expansion *e = &c->expansion;
    if (m.alias && m.alias != e->from) {
        struct origin_alias inner = c->origins->aliases.v[m.alias - 1];
        inner.mark = expand_mark(c, inner.mark);
        e->to = origins_alias(c->origins, inner);
        e->from = m.alias;
    }
    unsigned alias = m.alias ? e->to : e->alias;
    if (alias)
        m.alias = alias;
    return m;
}

/* Copies what an anchor names, NULL where a bound is hit. Nodes with !reset are gone where the
 * anchor stands, so they are not copied; their effect does not reach the aliases. */
static struct node *expand_alias(struct composer *c, const struct node *n, int depth)
{
    if (++c->alias_nodes > YAML_ALIAS_NODES_MAX || depth > YAML_DEPTH_MAX)
        return NULL;
    struct node *copy = arena_new_of(c->arena, struct node);
    *copy = *n;
    copy->mark = expand_mark(c, n->mark);
    if (n->kind != NODE_SEQUENCE && n->kind != NODE_MAPPING)
        return copy;
    copy->items = NULL;
    copy->count = 0;
    node_reserve(c->arena, copy, n->count);
    if (n->kind == NODE_SEQUENCE) {
        for (size_t i = 0; i < n->count; i++) {
            if (n->items[i]->tag == TAG_RESET)
                continue;
            struct node *item = expand_alias(c, n->items[i], depth + 1);
            if (!item)
                return NULL;
            node_append(c->arena, copy, item);
        }
    } else {
        for (size_t i = 0; i < n->count; i++) {
            const struct node_pair *pair = &n->pairs[i];
            if (pair->value->tag == TAG_RESET)
                continue;
            struct node *value = expand_alias(c, pair->value, depth + 1);
            if (!value)
                return NULL;
            node_set(c->arena, copy, pair->key, expand_mark(c, pair->key_mark), value);
        }
    }
    return copy;
}

static int compose_alias(struct composer *c, const yaml_event_t *e, struct node **out)
{
    struct mark m = mark_of(c, &e->start_mark);
    const char *name = (const char *)e->data.alias.anchor;
    const struct anchor *anchor = map_get(&c->anchors, name);
    if (!anchor) {
        struct closest near = {.word = name};
        map_foreach (&c->anchors, it)
            closest_try(&near, it->key);
        diag_error(c->diag, &m, "unknown anchor \"%s\"", name);
        diag_suggest(c->diag, near.best);
        return -1;
    }
    if (anchor->open) {
        diag_error(c->diag, &m, "anchor \"%s\" contains itself", name);
        diag_note(c->diag, &anchor->node->mark, "the anchor is here");
        return -1;
    }
    c->expansion = (struct expansion){
        .alias = origins_alias(
            c->origins, (struct origin_alias){.name = arena_strdup(c->arena, name), .mark = m})};
    *out = expand_alias(c, anchor->node, c->depth);
    if (*out)
        return 0;
    if (c->alias_nodes > YAML_ALIAS_NODES_MAX)
        diag_error(c->diag, &m, "aliases expand to more than %d nodes", YAML_ALIAS_NODES_MAX);
    else
        diag_error(c->diag, &m, "nested deeper than %d levels", YAML_DEPTH_MAX);
    return -1;
}

static struct anchor *open_anchor(struct composer *c, const yaml_char_t *name, struct node *n)
{
    if (!name)
        return NULL;
    struct anchor *anchor = arena_new_of(c->arena, struct anchor);
    *anchor = (struct anchor){.node = n, .open = true};
    map_set(&c->anchors, (const char *)name, anchor);
    return anchor;
}

static enum node_tag special_tag(const yaml_char_t *tag)
{
    if (!tag || tag[0] != '!')
        return TAG_NONE;
    return streq((const char *)tag, "!reset")      ? TAG_RESET
           : streq((const char *)tag, "!override") ? TAG_OVERRIDE
                                                   : TAG_NONE;
}

static void fill_scalar(struct composer *c, const yaml_event_t *e, struct node *n)
{
    const char *tag = (const char *)e->data.scalar.tag;
    size_t len = e->data.scalar.length;
    *n = (struct node){.kind = NODE_STRING, .mark = mark_of(c, &e->start_mark)};
    const char *text = share_text(c, (const char *)e->data.scalar.value, len);
    bool quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!scalar_resolve(c->arena, n, text, len, tag, quoted)) {
        if (strlen(text) != len)
            diag_error(c->diag, &n->mark, "NUL character in a string");
        else
            diag_error(c->diag, &n->mark, "\"%s\" is no %s", text,
                       strrchr(tag, ':') ? strrchr(tag, ':') + 1 : tag);
        n->kind = NODE_STRING;
        n->string = text;
        n->faulty = true;
    }
    if (special_tag(e->data.scalar.tag) != TAG_NONE)
        n->tag = (uint8_t)special_tag(e->data.scalar.tag);
}

static struct node *compose_scalar(struct composer *c, const yaml_event_t *e)
{
    struct node *n = arena_new_of(c->arena, struct node);
    fill_scalar(c, e, n);
    struct anchor *anchor = open_anchor(c, e->data.scalar.anchor, n);
    if (anchor)
        anchor->open = false;
    return n;
}

static int compose_node(struct composer *c, yaml_event_t *e, struct node **out);

static bool is_merge_key(const yaml_event_t *e)
{
    const char *tag = (const char *)e->data.scalar.tag;
    return e->type == YAML_SCALAR_EVENT && streq((const char *)e->data.scalar.value, "<<") &&
           (tag ? streq(tag, MERGE_TAG) : e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
}

static const char merge_key[] = "<<"; /* by address: the merge key, not a string of that text */

/* Sets key and place of a member. The key stays NULL where it is none (reported). */
static int compose_key(struct composer *c, yaml_event_t *e, struct node_pair *out)
{
    struct node *key, scalar;
    out->key_mark = mark_of(c, &e->start_mark);
    if (is_merge_key(e)) {
        out->key = merge_key;
        return 0;
    }
    if (e->type == YAML_SCALAR_EVENT && !e->data.scalar.anchor) {
        key = &scalar;
        fill_scalar(c, e, key);
    } else if (compose_node(c, e, &key)) {
        return -1;
    }
    if (key->kind == NODE_STRING && key->tag != TAG_TIMESTAMP)
        out->key = key->string;
    else if (key->kind == NODE_SEQUENCE || key->kind == NODE_MAPPING)
        diag_error(c->diag, &out->key_mark, "a key must be a string, not a %s",
                   node_kind_name(key));
    else
        diag_error(c->diag, &out->key_mark, "a key must be a string, not %s%s: put it in quotes",
                   key->kind == NODE_NULL  ? ""
                   : key->kind == NODE_INT ? "an "
                                           : "a ",
                   node_kind_name(key));
    return 0;
}

static void add_pair(struct composer *c, struct node *map, const struct node_pair *pair)
{
    const struct node_pair *before = node_pair(map, pair->key);
    if (before) {
        diag_error(c->diag, &pair->key_mark, "key \"%s\" is already defined", pair->key);
        diag_note(c->diag, &before->key_mark, "first defined here");
    } else {
        node_set(c->arena, map, pair->key, pair->key_mark, pair->value);
    }
}

/* Reads members onto the stack of open ones up to the end event; how many. -1: reported. */
static long compose_members(struct composer *c, yaml_event_type_t end)
{
    size_t before = c->open.n;
    for (;;) {
        struct node_pair member = {.key = NULL};
        yaml_event_t e;
        if (next_event(c, &e))
            return -1;
        if (e.type == end) {
            yaml_event_delete(&e);
            return (long)(c->open.n - before);
        }
        if (end == YAML_MAPPING_END_EVENT) {
            int rc = compose_key(c, &e, &member);
            yaml_event_delete(&e);
            if (rc || next_event(c, &e))
                return -1;
        }
        int rc = compose_node(c, &e, &member.value);
        yaml_event_delete(&e);
        if (rc)
            return -1;
        vec_push(&c->open, member);
    }
}

static int compose_sequence(struct composer *c, const yaml_event_t *start, struct node **out)
{
    struct node *seq = node_new(c->arena, NODE_SEQUENCE, mark_of(c, &start->start_mark));
    seq->tag = (uint8_t)special_tag(start->data.sequence_start.tag);
    struct anchor *anchor = open_anchor(c, start->data.sequence_start.anchor, seq);
    long n = compose_members(c, YAML_SEQUENCE_END_EVENT);
    if (n < 0)
        return -1;
    node_reserve(c->arena, seq, (size_t)n);
    c->open.n -= (size_t)n;
    for (long i = 0; i < n; i++)
        node_append(c->arena, seq, c->open.v[c->open.n + (size_t)i].value);
    if (anchor)
        anchor->open = false;
    *out = seq;
    return 0;
}

/* Adds the pairs of a merged mapping that are not there yet. */
static void merge_mapping(struct composer *c, struct node *map, const struct node *from,
                          struct mark at)
{
    node_reserve(c->arena, map, (size_t)map->count + from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct node_pair *p = &from->pairs[i];
        bool lost = node_pair(map, p->key);
        history_merge(
            c->history,
            (struct yaml_merge){
                .map = map->mark, .at = at, .key = p->key, .value = p->value, .lost = lost});
        if (!lost)
            node_set(c->arena, map, p->key, p->key_mark, p->value);
    }
}

static void apply_merge_key(struct composer *c, struct node *map, const struct node_pair *merge)
{
    const struct node *value = merge->value;
    if (value->tag == TAG_RESET)
        return;
    if (value->kind == NODE_MAPPING) {
        merge_mapping(c, map, value, merge->key_mark);
        return;
    }
    bool ok = value->kind == NODE_SEQUENCE;
    for (size_t i = 0; ok && i < value->count; i++) {
        ok = value->items[i]->kind == NODE_MAPPING;
        if (ok)
            merge_mapping(c, map, value->items[i], merge->key_mark);
    }
    if (!ok)
        diag_error(c->diag, &value->mark, "\"<<\" merges a mapping or a list of mappings, not %s",
                   value->kind == NODE_SEQUENCE ? "a list of other things"
                   : value->kind == NODE_NULL   ? "null"
                                                : "a scalar");
}

static void add_merge(struct composer *c, const struct node_pair *pair, struct node_pair *merge)
{
    if (!merge->value) {
        *merge = *pair;
        return;
    }
    diag_error(c->diag, &pair->key_mark, "key \"<<\" is already defined: merge a list");
    diag_note(c->diag, &merge->key_mark, "first defined here");
}

enum { DEPTH_OF_SERVICES = 3 };

static int compose_mapping(struct composer *c, const yaml_event_t *start, struct node **out)
{
    struct node *map = node_new(c->arena, NODE_MAPPING, mark_of(c, &start->start_mark));
    map->tag = (uint8_t)special_tag(start->data.mapping_start.tag);
    struct anchor *anchor = open_anchor(c, start->data.mapping_start.anchor, map);
    struct node_pair merge = {.value = NULL};
    long n = compose_members(c, YAML_MAPPING_END_EVENT);
    if (n < 0)
        return -1;
    /* Nearly every service gets one member more: the default network. */
    node_reserve(c->arena, map, (size_t)n + (c->depth == DEPTH_OF_SERVICES));
    c->open.n -= (size_t)n;
    for (long i = 0; i < n; i++) {
        const struct node_pair *pair = c->open.v + c->open.n + i;
        if (pair->key == merge_key)
            add_merge(c, pair, &merge);
        else if (pair->key)
            add_pair(c, map, pair);
    }
    if (merge.value)
        apply_merge_key(c, map, &merge);
    if (anchor)
        anchor->open = false;
    *out = map;
    return 0;
}

static int compose_node(struct composer *c, yaml_event_t *e, struct node **out)
{
    int rc = -1;
    struct mark m = mark_of(c, &e->start_mark);
    const struct pass p = {.arena = c->arena, .diag = c->diag};
    if (++c->depth > YAML_DEPTH_MAX) {
        diag_error(c->diag, &m, "nested deeper than %d levels", YAML_DEPTH_MAX);
    } else if (++c->nodes > YAML_NODES_MAX) {
        diag_error(c->diag, &m, "the file has more than %d values", YAML_NODES_MAX);
    } else if (pass_full(&p, &m)) {
        rc = -1;
    } else if (e->type == YAML_ALIAS_EVENT) {
        rc = compose_alias(c, e, out);
    } else if (e->type == YAML_SCALAR_EVENT) {
        *out = compose_scalar(c, e);
        rc = 0;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        rc = compose_sequence(c, e, out);
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        rc = compose_mapping(c, e, out);
    }
    c->depth--;
    return rc;
}

struct path_stack {
    struct {
        const char **v;
        size_t n, cap;
    } keys;
    struct {
        struct node_path *v;
        size_t n, cap;
    } found;
};

static void record_path(struct composer *c, struct path_stack *s, const struct node *n)
{
    struct node_path path = {
        .n = s->keys.n,
        .keys = arena_array(c->arena, const char *, s->keys.n),
        .mark = n->mark,
        .replaces = n->tag == TAG_OVERRIDE,
    };
    if (s->keys.n)
        memcpy(path.keys, s->keys.v, s->keys.n * sizeof(*path.keys));
    vec_push(&s->found, path);
}

/* Removes what is tagged !reset and records where it and !override stand. */
static void collect_resets(struct composer *c, struct node *n, struct path_stack *s)
{
    if (n->tag == TAG_OVERRIDE) {
        record_path(c, s, n);
        n->tag = TAG_NONE;
        return;
    }
    if (n->kind == NODE_MAPPING) {
        for (size_t i = 0; i < n->count;) {
            vec_push(&s->keys, n->pairs[i].key);
            bool reset = n->pairs[i].value->tag == TAG_RESET;
            if (reset) {
                record_path(c, s, n->pairs[i].value);
                node_del_at(n, i);
            } else {
                collect_resets(c, n->pairs[i++].value, s);
            }
            s->keys.n--;
        }
    } else if (n->kind == NODE_SEQUENCE) {
        size_t kept = 0;
        for (size_t i = 0; i < n->count; i++) {
            if (n->items[i]->tag == TAG_RESET)
                continue;
            char number[24];
            snprintf(number, sizeof(number), "%zu", i);
            vec_push(&s->keys, arena_strdup(c->arena, number));
            collect_resets(c, n->items[i], s);
            s->keys.n--;
            n->items[kept++] = n->items[i];
        }
        n->count = kept;
    }
}

static bool has_special_tags(const char *text, size_t len)
{
    return memmem(text, len, "!reset", 6) || memmem(text, len, "!override", 9);
}

static void finish_document(struct composer *c, struct yaml_document *doc)
{
    if (!c->special_tags)
        return;
    if (doc->root->tag == TAG_RESET)
        doc->root = node_new(c->arena, NODE_NULL, doc->root->mark);
    struct path_stack s = {0};
    collect_resets(c, doc->root, &s);
    doc->resets_n = s.found.n;
    doc->resets = arena_array(c->arena, struct node_path, s.found.n);
    if (s.found.n)
        memcpy(doc->resets, s.found.v, s.found.n * sizeof(*doc->resets));
    vec_release(&s.keys);
    vec_release(&s.found);
}

static int compose_stream(struct composer *c, struct yaml_stream *out)
{
    VEC(struct yaml_document) docs = {0};
    int rc = -1;
    for (;;) {
        yaml_event_t e;
        if (next_event(c, &e))
            break;
        yaml_event_type_t type = e.type;
        if (type == YAML_DOCUMENT_START_EVENT || type == YAML_STREAM_START_EVENT ||
            type == YAML_DOCUMENT_END_EVENT || type == YAML_STREAM_END_EVENT ||
            type == YAML_NO_EVENT) {
            yaml_event_delete(&e);
            if (type != YAML_STREAM_END_EVENT && type != YAML_NO_EVENT)
                continue;
            rc = 0;
            break;
        }
        struct yaml_document doc = {0};
        int composed = compose_node(c, &e, &doc.root);
        yaml_event_delete(&e);
        if (composed)
            break;
        finish_document(c, &doc);
        vec_push(&docs, doc);
    }
    out->n = docs.n;
    out->docs = arena_array(c->arena, struct yaml_document, docs.n);
    if (docs.n)
        memcpy(out->docs, docs.v, docs.n * sizeof(*docs.v));
    vec_release(&docs);
    return rc;
}

int yaml_parse(struct arena *a, const char *file, const char *text, size_t len,
               struct origins *origins, struct yaml_stream *out, struct diag *d)
{
    *out = (struct yaml_stream){0};
    struct composer c = {.arena = a,
                         .file = file,
                         .text = text,
                         .len = len,
                         .diag = d,
                         .origins = origins,
                         .history = origins ? origins->history : NULL};
    c.special_tags = has_special_tags(text, len);
    if (!yaml_parser_initialize(&c.parser)) {
        diag_error(d, NULL, "out of memory");
        return -1;
    }
    yaml_parser_set_input_string(&c.parser, (const unsigned char *)text, len);
    int rc = compose_stream(&c, out);
    map_release(&c.anchors);
    vec_release(&c.open);
    yaml_parser_delete(&c.parser);
    return rc;
}
