#include "file/typed.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "file/fields.h"
#include "file/interpolate.h"
#include "file/scalar.h"
#include "file/shellwords.h"

/* Each converter returns the value in its final form, or NULL where there is nothing to keep:
 * because it is empty, or because it is wrong, which it reports. */
struct typing {
    const struct pass *pass;
    struct arena *arena;
    const struct field *field;
    const struct place *at;
};

static struct node *wrong(const struct typing *t, struct node *n, const char *want)
{
    const char *text = node_text(t->arena, n);
    const char *path = place_inner_path(t->arena, t->at);
    if (text)
        pass_error(t->pass, t->at, &n->mark, "%s: invalid value \"%s\": want %s", path, text, want);
    else
        pass_error(t->pass, t->at, &n->mark, "%s: want %s, not a %s", path, want,
                   node_kind_name(n));
    n->faulty = true;
    return NULL;
}

static bool keep_zero(const struct typing *t)
{
    return t->field->flags & (FIELD_KEEP_ZERO | FIELD_ALWAYS);
}

static struct node *string_node(const struct typing *t, struct node *n)
{
    if (n->kind == NODE_INT || n->tag == TAG_UINT64)
        return node_new_string(t->arena, node_text(t->arena, n), n->mark);
    return n->kind == NODE_STRING ? n : wrong(t, n, "a string");
}

static struct node *to_string(const struct typing *t, struct node *n)
{
    n = string_node(t, n);
    return n && (*n->string || keep_zero(t)) ? n : NULL;
}

static struct node *to_bool(const struct typing *t, struct node *n)
{
    bool v;
    if (n->kind == NODE_STRING && interpolate_bool(n->string, &v)) {
        n->kind = NODE_BOOL;
        n->boolean = v;
    }
    if (n->kind != NODE_BOOL)
        return wrong(t, n, "true or false");
    return n->boolean || keep_zero(t) ? n : NULL;
}

static struct node *to_int(const struct typing *t, struct node *n)
{
    bool is_unsigned = t->field->type == TYPE_UINT;
    int64_t v;
    if (n->kind == NODE_STRING && !is_unsigned && scalar_parse_int(n->string, 10, &v))
        n = node_new_int(t->arena, v, n->mark);
    if (n->kind == NODE_FLOAT && fabs(node_number(n)) < 9e18)
        n = node_new_int(t->arena, (int64_t)node_number(n), n->mark);
    if (n->kind != NODE_INT || (is_unsigned && n->integer < 0))
        return wrong(t, n, is_unsigned ? "a number from 0 up" : "an integer");
    return n->integer || keep_zero(t) ? n : NULL;
}

static struct node *to_float(const struct typing *t, struct node *n)
{
    double v;
    if (n->kind == NODE_INT)
        v = (double)n->integer;
    else if (n->kind == NODE_FLOAT)
        v = node_number(n);
    else if (n->kind != NODE_STRING || !scalar_parse_float(n->string, &v))
        return wrong(t, n, "a number");
    n->kind = NODE_FLOAT;
    n->tag = TAG_FLOAT32;
    n->number = (double)(float)v;
    return n->number != 0 || keep_zero(t) ? n : NULL;
}

static struct node *to_bytes(const struct typing *t, struct node *n)
{
    int64_t v = 0; /* also of a fraction, as in the reference */
    if (n->kind == NODE_INT)
        v = n->integer;
    else if (n->kind == NODE_STRING && !scalar_parse_int(n->string, 10, &v) &&
             !size_parse(n->string, &v)) /* "-1", unlimited, is no size but may be printed */
        return wrong(t, n, "a size such as 512m or 1g");
    if (!v && !keep_zero(t))
        return NULL;
    return node_new_string(t->arena, arena_printf(t->arena, "%lld", (long long)v), n->mark);
}

static struct node *to_duration(const struct typing *t, struct node *n)
{
    const char *text = node_text(t->arena, n);
    int64_t ns;
    char buf[32];
    if (!text || !duration_parse(text, &ns))
        return wrong(t, n, "a duration such as 30s or 1m30s");
    if (!ns && !keep_zero(t))
        return NULL;
    return node_new_string(t->arena, arena_strdup(t->arena, duration_format(ns, buf)), n->mark);
}

static struct node *to_file_mode(const struct typing *t, struct node *n)
{
    int64_t v;
    if (n->kind == NODE_INT)
        v = n->integer;
    else if (n->kind != NODE_STRING || !scalar_parse_int(n->string, 8, &v))
        return wrong(t, n, "mode bits in octal such as 0440");
    unsigned long long bits = v < 0 ? -(unsigned long long)v : (unsigned long long)v;
    return node_new_string(t->arena, arena_printf(t->arena, "0%s%llo", v < 0 ? "-" : "", bits),
                           n->mark);
}

static struct node *to_device_count(const struct typing *t, struct node *n)
{
    int64_t v;
    if (n->kind == NODE_INT)
        v = n->integer;
    else if (n->kind == NODE_STRING && strcasecmp(n->string, "all") == 0)
        v = -1;
    else if (n->kind != NODE_STRING || !scalar_parse_int(n->string, 10, &v))
        return wrong(t, n, "\"all\" or a number");
    return v ? node_new_int(t->arena, v, n->mark) : NULL;
}

/* text: any scalar counts, as it is printed; else only strings and integers. */
static struct node *to_list(const struct typing *t, struct node *n, bool text)
{
    if (n->kind == NODE_STRING) {
        struct node *seq = node_new(t->arena, NODE_SEQUENCE, n->mark);
        node_append(t->arena, seq, n);
        return seq;
    }
    if (n->kind != NODE_SEQUENCE)
        return wrong(t, n, "a list");
    for (size_t i = 0; i < n->count; i++) {
        struct place here = {.up = t->at, .index = i};
        struct typing item = *t;
        item.at = &here;
        struct node *v = n->items[i];
        const char *s = node_text(t->arena, v);
        if (text && s && v->kind != NODE_STRING)
            v = node_new_string(t->arena, s, v->mark);
        else
            v = string_node(&item, v);
        if (!v)
            return NULL;
        n->items[i] = v;
    }
    return n->count || keep_zero(t) ? n : NULL;
}

/* Ports are written as numbers or strings. */
static struct node *to_numbers_or_strings(const struct typing *t, struct node *n)
{
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++) {
        struct place here = {.up = t->at, .index = i};
        struct typing item = *t;
        item.at = &here;
        if (n->items[i]->kind == NODE_FLOAT)
            return wrong(&item, n->items[i], "an integer or a string");
    }
    return to_list(t, n, true);
}

static struct node *new_list(const struct typing *t, const char **v, size_t n, struct mark mark)
{
    struct node *seq = node_new(t->arena, NODE_SEQUENCE, mark);
    for (size_t i = 0; i < n; i++)
        node_append(t->arena, seq, node_new_string(t->arena, v[i], mark));
    return seq;
}

/* An empty command is kept: it takes away the image's. */
static struct node *to_command(const struct typing *t, struct node *n)
{
    if (n->kind == NODE_STRING) {
        const char *fault;
        size_t words_n;
        const char **words = shellwords_split(t->arena, n->string, &words_n, &fault);
        if (words)
            return new_list(t, words, words_n, n->mark);
        pass_error(t->pass, t->at, &n->mark, "%s: invalid command line: %s",
                   place_inner_path(t->arena, t->at), fault);
        return NULL;
    }
    return n->kind == NODE_SEQUENCE && !n->count ? n : to_list(t, n, false);
}

static struct node *to_health_test(const struct typing *t, struct node *n)
{
    if (n->kind == NODE_STRING)
        return new_list(t, (const char *[]){"CMD-SHELL", n->string}, 2, n->mark);
    return to_list(t, n, false);
}

static struct node *text_value(const struct typing *t, struct node *n, bool keep_null)
{
    if (n->kind == NODE_NULL)
        return keep_null ? n : node_new_string(t->arena, "", n->mark);
    const char *s = node_text(t->arena, n);
    if (!s)
        return wrong(t, n, "a string");
    return n->kind == NODE_STRING ? n : node_new_string(t->arena, s, n->mark);
}

static struct node *list_to_mapping(const struct typing *t, struct node *n)
{
    bool environment = t->field->type == TYPE_ENVIRONMENT;
    struct node *map = node_new(t->arena, NODE_MAPPING, n->mark);
    node_reserve(t->arena, map, n->count);
    for (size_t i = 0; i < n->count; i++) {
        struct node *item = n->items[i];
        const char *s = node_text(t->arena, item);
        if (!s)
            return wrong(t, item, "NAME=VALUE");
        const char *eq = strchr(s, '=');
        const char *key = eq ? arena_strndup(t->arena, s, (size_t)(eq - s)) : s;
        if (environment && *key && isspace((unsigned char)key[strlen(key) - 1])) {
            pass_error(t->pass, t->at, &item->mark,
                       "%s: variable \"%s\" has a space before the \"=\"",
                       place_inner_path(t->arena, t->at), key);
            continue;
        }
        /* The element becomes the value. */
        item->kind = eq || !environment ? NODE_STRING : NODE_NULL;
        item->string = eq ? eq + 1 : "";
        node_put(t->arena, map, key, item);
    }
    return map;
}

static struct node *to_mapping(const struct typing *t, struct node *n)
{
    bool lists = t->field->type != TYPE_OPTIONS && t->field->type != TYPE_STRING_MAP;
    if (n->kind == NODE_SEQUENCE && lists)
        n = list_to_mapping(t, n);
    if (!n)
        return NULL;
    if (n->kind != NODE_MAPPING)
        return wrong(t, n, "a mapping");
    for (size_t i = 0; i < n->count;) {
        struct node_pair *pair = &n->pairs[i];
        struct place here = {.up = t->at, .key = pair->key};
        struct typing item = *t;
        item.at = &here;
        struct node *value = t->field->type == TYPE_STRING_MAP && pair->value->kind != NODE_NULL
                                 ? string_node(&item, pair->value)
                                 : text_value(&item, pair->value,
                                              t->field->type == TYPE_ENVIRONMENT);
        if (value) {
            pair->value = value;
            i++;
        } else {
            node_del_at(n, i);
        }
    }
    node_sort(n);
    return n->count ? n : NULL;
}

static struct node *to_multi_options(const struct typing *t, struct node *n)
{
    if (n->kind != NODE_MAPPING)
        return wrong(t, n, "a mapping");
    for (size_t i = 0; i < n->count; i++) {
        struct node_pair *pair = &n->pairs[i];
        struct place here = {.up = t->at, .key = pair->key};
        struct typing item = *t;
        item.at = &here;
        if (pair->value->kind != NODE_SEQUENCE) {
            struct node *seq = node_new(t->arena, NODE_SEQUENCE, pair->value->mark);
            node_append(t->arena, seq, pair->value);
            pair->value = seq;
        }
        if (!to_list(&item, pair->value, true))
            return NULL;
    }
    node_sort(n);
    return n->count ? n : NULL;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp((*(struct node *const *)a)->string, (*(struct node *const *)b)->string);
}

static bool add_host(const struct typing *t, struct node *out, const char *host, const char *ip,
                     struct node *from)
{
    size_t n = strlen(ip);
    if (!*host || strpbrk(host, ":=")) {
        pass_error(t->pass, t->at, &from->mark, "%s: bad host name \"%s\"",
                   place_inner_path(t->arena, t->at), host);
        return false;
    }
    if (n > 2 && ip[0] == '[' && ip[n - 1] == ']')
        ip = arena_strndup(t->arena, ip + 1, n - 2);
    const char *entry = arena_printf(t->arena, "%s=%s", host, ip);
    node_append(t->arena, out, node_new_string(t->arena, entry, from->mark));
    return true;
}

/* "host=ip", "host:ip" or "host=ip,ip" */
static bool add_host_entry(const struct typing *t, struct node *out, struct node *item)
{
    const char *s = node_text(t->arena, item);
    const char *sep = s ? strchr(s, '=') : NULL;
    if (s && !sep)
        sep = strchr(s, ':');
    if (!sep) {
        pass_error(t->pass, t->at, &item->mark, "%s: missing address in \"%s\": want HOST=ADDRESS",
                   place_inner_path(t->arena, t->at), s ? s : "");
        return false;
    }
    const char *host = arena_strndup(t->arena, s, (size_t)(sep - s));
    for (const char *ip = sep + 1;; ip++) {
        size_t n = strcspn(ip, ",");
        if (!add_host(t, out, host, arena_strndup(t->arena, ip, n), item))
            return false;
        ip += n;
        if (!*ip)
            return true;
    }
}

static struct node *to_hosts(const struct typing *t, struct node *n)
{
    struct node *out = node_new(t->arena, NODE_SEQUENCE, n->mark);
    bool ok = true;
    if (n->kind == NODE_SEQUENCE) {
        for (size_t i = 0; ok && i < n->count; i++)
            ok = add_host_entry(t, out, n->items[i]);
    } else if (n->kind == NODE_MAPPING) {
        for (size_t i = 0; ok && i < n->count; i++) {
            struct node *value = n->pairs[i].value;
            const char *host = n->pairs[i].key, *ip = node_text(t->arena, value);
            if (ip)
                ok = add_host(t, out, host, value->kind == NODE_NULL ? "" : ip, value);
            for (size_t j = 0; ok && value->kind == NODE_SEQUENCE && j < value->count; j++)
                ok = node_text(t->arena, value->items[j]) &&
                     add_host(t, out, host, node_text(t->arena, value->items[j]), value->items[j]);
        }
    } else {
        return wrong(t, n, "a list or a mapping");
    }
    if (out->count)
        qsort(out->items, out->count, sizeof(*out->items), compare_strings);
    return ok && out->count ? out : NULL;
}

static struct node *to_ssh(const struct typing *t, struct node *n)
{
    if (n->kind != NODE_MAPPING)
        return wrong(t, n, "a mapping or a list of ID=PATH");
    for (size_t i = 0; i < n->count; i++)
        if (n->pairs[i].value->kind != NODE_NULL)
            n->pairs[i].value = text_value(t, n->pairs[i].value, true);
    node_sort(n);
    return n->count ? n : NULL;
}

static struct node *to_ulimits(const struct typing *t, struct node *n)
{
    if (n->kind != NODE_MAPPING)
        return wrong(t, n, "a mapping");
    for (size_t i = 0; i < n->count; i++) {
        struct node *value = n->pairs[i].value;
        struct place here = {.up = t->at, .key = n->pairs[i].key};
        struct typing item = *t;
        item.at = &here;
        if (value->kind == NODE_INT)
            continue;
        if (value->kind != NODE_MAPPING)
            return wrong(&item, value, "a number, or soft and hard");
        for (size_t j = 0; j < value->count; j++) {
            struct place below = {.up = &here, .key = value->pairs[j].key};
            item.at = &below;
            if (!starts_with(below.key, "x-") && value->pairs[j].value->kind != NODE_INT)
                return wrong(&item, value->pairs[j].value, "an integer");
        }
    }
    node_sort(n);
    return n->count ? n : NULL;
}

static void type_members(const struct pass *p, struct node *map, const struct object *object,
                         const struct place *at);

static struct node *to_object(const struct typing *t, struct node *n)
{
    if (n->kind != NODE_MAPPING)
        return wrong(t, n, "a mapping");
    type_members(t->pass, n, t->field->object, t->at);
    return n->count || !(t->field->flags & FIELD_BY_VALUE) ? n : NULL;
}

static struct node *to_object_list(const struct typing *t, struct node *n)
{
    if (n->kind != NODE_SEQUENCE)
        return wrong(t, n, "a list");
    size_t kept = 0;
    for (size_t i = 0; i < n->count; i++) {
        struct place here = {.up = t->at, .index = i};
        struct node *item = n->items[i];
        if (item->kind == NODE_MAPPING) {
            type_members(t->pass, item, t->field->object, &here);
            n->items[kept++] = item;
        }
        n->faulty |= item->faulty || item->kind != NODE_MAPPING;
    }
    n->count = kept;
    return n->count ? n : NULL;
}

static struct node *to_object_map(const struct typing *t, struct node *n)
{
    if (n->kind != NODE_MAPPING)
        return wrong(t, n, "a mapping");
    for (size_t i = 0; i < n->count; i++) {
        struct node_pair *pair = &n->pairs[i];
        struct place here = {.up = t->at, .key = pair->key};
        if (pair->value->kind == NODE_NULL && !(t->field->flags & FIELD_NULL_ITEMS))
            pair->value = node_new(t->arena, NODE_MAPPING, pair->value->mark);
        if (pair->value->kind == NODE_MAPPING)
            type_members(t->pass, pair->value, t->field->object, &here);
    }
    node_sort(n);
    return n->count || (t->field->flags & FIELD_ALWAYS) ? n : NULL;
}

static struct node *convert(const struct typing *t, struct node *n)
{
    if (n->kind == NODE_NULL)
        return NULL;
    switch ((enum field_type)t->field->type) {
    case TYPE_ANY:
        return n;
    case TYPE_STRING:
        return to_string(t, n);
    case TYPE_BOOL:
        return to_bool(t, n);
    case TYPE_INT:
    case TYPE_UINT:
        return to_int(t, n);
    case TYPE_FLOAT:
    case TYPE_CPUS:
        return to_float(t, n);
    case TYPE_BYTES:
        return to_bytes(t, n);
    case TYPE_DURATION:
        return to_duration(t, n);
    case TYPE_FILE_MODE:
        return to_file_mode(t, n);
    case TYPE_DEVICE_COUNT:
        return to_device_count(t, n);
    case TYPE_STRINGS:
    case TYPE_STRING_OR_LIST:
        return to_list(t, n, false);
    case TYPE_NUMBERS_OR_STRINGS:
        return to_numbers_or_strings(t, n);
    case TYPE_COMMAND:
        return to_command(t, n);
    case TYPE_HEALTH_TEST:
        return to_health_test(t, n);
    case TYPE_MAPPING:
    case TYPE_ENVIRONMENT:
    case TYPE_LABELS:
    case TYPE_OPTIONS:
    case TYPE_STRING_MAP:
        return to_mapping(t, n);
    case TYPE_MULTI_OPTIONS:
        return to_multi_options(t, n);
    case TYPE_HOSTS:
        return to_hosts(t, n);
    case TYPE_SSH:
        return to_ssh(t, n);
    case TYPE_ULIMITS:
        return to_ulimits(t, n);
    case TYPE_OBJECT:
        return to_object(t, n);
    case TYPE_OBJECT_LIST:
        return to_object_list(t, n);
    case TYPE_OBJECT_MAP:
        return to_object_map(t, n);
    }
    return n;
}

static void type_members(const struct pass *p, struct node *map, const struct object *object,
                         const struct place *at)
{
    size_t kept = 0, errors = p->diag->errors;
    for (size_t i = 0; i < map->count; i++) {
        struct node_pair pair = map->pairs[i];
        const struct field *f = field_of(object, &pair);
        if (!f) {
            if (starts_with(pair.key, "x-"))
                map->pairs[kept++] = pair;
            continue;
        }
        struct place here = {.up = at, .key = pair.key};
        struct typing t = {.pass = p, .arena = p->arena, .field = f, .at = &here};
        pair.value = convert(&t, pair.value);
        if (pair.value)
            map->pairs[kept++] = pair;
    }
    map->count = kept;
    map->faulty |= p->diag->errors > errors;
    /* The mappings of a table are small but for services with many extensions: search linearly. */
    node_moved(map);
}

void typed_document(const struct pass *p, struct node *root)
{
    type_members(p, root, &root_object, NULL);
}
