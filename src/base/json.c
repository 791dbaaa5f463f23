#include "base/json.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { JSON_FILE_MAX = 64 << 20 };

void json_decref_ptr(json_t **j)
{
    json_decref(*j);
}

const char *jstr(const json_t *o, const char *key, const char *fallback)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : fallback;
}

json_int_t jint(const json_t *o, const char *key, json_int_t fallback)
{
    const json_t *j = json_object_get(o, key);
    return json_is_integer(j) ? json_integer_value(j) : fallback;
}

bool jbool(const json_t *o, const char *key, bool fallback)
{
    const json_t *j = json_object_get(o, key);
    return json_is_boolean(j) ? json_is_true(j) : fallback;
}

json_t *json_text(const char *s)
{
    if (!s || utf8_is_valid(s))
        return json_string(s);
    char *clean AUTOFREE = utf8_clean(s);
    return json_string(clean);
}

void jput(json_t *o, const char *key, json_t *take_value)
{
    char *clean AUTOFREE = utf8_is_valid(key) ? NULL : utf8_clean(key);
    json_object_set_new(o, clean ? clean : key, take_value);
}

void jset_str(json_t *o, const char *key, const char *value)
{
    if (value)
        jput(o, key, json_text(value));
}

json_t *jarray_from_strv(const char *const *v)
{
    json_t *a = json_array();
    for (size_t i = 0; v && v[i]; i++)
        json_array_append_new(a, json_text(v[i]));
    return a;
}

bool jarray_has(const json_t *array, const char *text)
{
    size_t i;
    json_t *one;
    json_array_foreach (array, i, one)
        if (json_is_string(one) && streq(json_string_value(one), text))
            return true;
    return false;
}

char **jarray_to_strv(const json_t *j)
{
    if (!json_is_array(j))
        return NULL;
    char **v = xcalloc(json_array_size(j) + 1, sizeof(*v));
    size_t n = 0, i;
    json_t *item;
    json_array_foreach ((json_t *)j, i, item)
        if (json_is_string(item))
            v[n++] = xstrdup(json_string_value(item));
    return v;
}

int json_read(const char *path, json_t **out, struct err *err)
{
    char *data AUTOFREE = NULL;
    size_t len;
    if (fs_read(path, JSON_FILE_MAX, &data, &len, err) < 0)
        return -1;
    json_error_t je;
    json_t *j AUTOJSON = json_loadb(data, len, JSON_REJECT_DUPLICATES, &je);
    if (!j)
        return err_set(err, ERR_CORRUPT, "%s:%d:%d: %s", path, je.line, je.column, je.text);
    if (!json_is_object(j))
        return err_set(err, ERR_CORRUPT, "%s: not a JSON object", path);
    *out = STEAL(j);
    return 0;
}

int json_write(const char *path, const json_t *j, bool durable, struct err *err)
{
    char *text AUTOFREE = json_dumps(j, JSON_COMPACT);
    if (!text)
        return err_set(err, ERR_INVALID, "%s: not representable as JSON", path);
    size_t n = strlen(text);
    text[n] = '\n'; /* over the NUL: the length says where the text ends */
    return fs_write_atomic(path, text, n + 1, 0600, durable, err);
}
