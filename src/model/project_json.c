#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "file/diag.h"
#include "file/pass.h"
#include "file/typed.h"
#include "model/decode.h"
#include "model/node_json.h"

enum { MARK_DEPTH = 3 /* services, their names, their keys */ };

/* Places: {"files": [...], "at": {"services": {"": [file, line, col], "web": {...}}}}. */
struct places {
    json_t *files;
    struct map seen; /* file -> index + 1 */
};

static json_t *mark_to_json(struct places *s, const struct mark *m)
{
    if (!m->file)
        return json_null();
    size_t i = (size_t)map_get(&s->seen, m->file);
    if (!i) {
        json_array_append_new(s->files, json_text(m->file));
        i = json_array_size(s->files);
        map_set(&s->seen, m->file, (void *)i);
    }
    return json_pack("[I,i,i]", (json_int_t)(i - 1), m->line, m->col);
}

static json_t *marks_to_json(struct places *s, const struct node *map, int depth)
{
    json_t *j = json_object();
    for (size_t i = 0; i < map->count; i++) {
        const struct node_pair *pair = &map->pairs[i];
        json_t *at = json_array();
        json_array_append_new(at, mark_to_json(s, &pair->key_mark));
        if (depth < MARK_DEPTH && pair->value->kind == NODE_MAPPING)
            json_array_append_new(at, marks_to_json(s, pair->value, depth + 1));
        jput(j, pair->key, at);
    }
    return j;
}

static void marks_from_json(struct arena *a, const json_t *files, const json_t *j,
                            const struct node *map)
{
    const char *key;
    json_t *at;
    json_object_foreach ((json_t *)j, key, at) {
        struct node_pair *pair = node_pair(map, key);
        const json_t *mark = json_array_get(at, 0);
        const char *file = json_string_value(
            json_array_get(files, (size_t)json_integer_value(json_array_get(mark, 0))));
        if (!pair)
            continue;
        if (file && json_is_array(mark)) {
            struct mark m = {.file = arena_strdup(a, file),
                             .line = (int)json_integer_value(json_array_get(mark, 1)),
                             .col = (int)json_integer_value(json_array_get(mark, 2))};
            pair->key_mark = m;
            pair->value->mark = m;
        }
        if (json_array_get(at, 1))
            marks_from_json(a, files, json_array_get(at, 1), pair->value);
    }
}

static json_t *strings_to_json(const struct strings *s)
{
    json_t *j = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_array_append_new(j, json_text(s->v[i]));
    return j;
}

static struct strings strings_from_json(struct arena *a, const json_t *j)
{
    struct strings s = {.v = arena_array(a, const char *, json_array_size(j) + 1)};
    size_t i;
    json_t *item;
    json_array_foreach (j, i, item)
        if (json_is_string(item))
            s.v[s.n++] = arena_strdup(a, json_string_value(item));
    return s;
}

json_t *project_to_json(const struct project *p)
{
    struct places s = {.files = json_array()};
    json_t *at = marks_to_json(&s, p->document, 1);
    map_release(&s.seen);
    json_t *j = json_object();
    json_object_set_new(j, "document", node_to_json(p->document));
    json_object_set_new(j, "working_dir", json_text(p->working_dir));
    json_object_set_new(j, "separator", json_text(p->separator));
    json_object_set_new(j, "files", strings_to_json(&p->files));
    json_object_set_new(j, "env_files", strings_to_json(&p->env_files));
    json_object_set_new(j, "disabled", strings_to_json(&p->disabled));
    json_object_set_new(j, "places", json_pack("{s:o, s:o}", "files", s.files, "at", at));
    return j;
}

int project_from_json(const json_t *j, struct project **out, struct err *err)
{
    const json_t *document = json_object_get(j, "document"), *places = json_object_get(j, "places");
    *out = NULL;
    if (!json_is_object(document))
        return err_set(err, ERR_CORRUPT, "a stored project without its document");
    struct arena *a = arena_new();
    struct node *root = node_from_json(a, document);
    marks_from_json(a, json_object_get(places, "files"), json_object_get(places, "at"), root);
    /* Gives numbers and short lists their exact form again, and refuses what is none. */
    struct diag d AUTODIAG = DIAG_INIT;
    struct pass pass = {.arena = a, .diag = &d};
    typed_document(&pass, root);
    if (d.errors) {
        char *first AUTOFREE = diag_first_error(&d);
        arena_free(a);
        return err_set(err, ERR_CORRUPT, "a stored project is damaged: %s", first);
    }
    if (project_decode(a, root, out, err))
        return -1;
    struct project *p = *out;
    const char *dir = jstr(j, "working_dir", "/");
    p->working_dir = arena_strdup(a, dir);
    p->separator = arena_strdup(a, jstr(j, "separator", "-"));
    p->files = strings_from_json(a, json_object_get(j, "files"));
    p->env_files = strings_from_json(a, json_object_get(j, "env_files"));
    p->disabled = strings_from_json(a, json_object_get(j, "disabled"));
    return 0;
}
