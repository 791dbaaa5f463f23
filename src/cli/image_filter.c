#include "cli/image_filter.h"

#include <fnmatch.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/moment.h"
#include "cli/options.h"

static const char *value_of(const char *word, const char *key)
{
    size_t n = strlen(key);
    return strncmp(word, key, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static int created(struct image_store *store, const char *name, int64_t *out, struct err *err)
{
    struct image *image;
    if (image_find(store, name, NULL, &image, err) < 0)
        return -1;
    *out = image->created;
    image_free(image);
    return 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a && a < b ? a : b;
}

static int add_word(struct image_filter *f, struct image_store *store, const char *word,
                    struct err *err)
{
    const char *value;
    int64_t when = 0;
    bool on;
    if ((value = value_of(word, "dangling")) && bool_parse(value, &on)) {
        f->dangling = on;
    } else if ((value = value_of(word, "before"))) {
        if (created(store, value, &when, err) < 0)
            return -1;
        f->before = earlier(f->before, when);
    } else if ((value = value_of(word, "since"))) {
        if (created(store, value, &when, err) < 0)
            return -1;
        f->after = when > f->after ? when : f->after;
    } else if ((value = value_of(word, "until"))) {
        if (moment_parse(value, &when, err) < 0)
            return -1;
        f->before = earlier(f->before, when);
    } else if (!value_of(word, "reference") && !value_of(word, "label") &&
               !value_of(word, "label!")) {
        return err_set(err, ERR_INVALID, "invalid filter '%s'", word);
    }
    return 0;
}

int image_filter_init(struct image_filter *f, struct image_store *store, const char *const *words,
                      struct err *err)
{
    *f = (struct image_filter){.words = words, .dangling = -1};
    for (; words && *words; words++)
        if (add_word(f, store, *words, err) < 0)
            return -1;
    return 0;
}

static bool label_matches(const struct image *image, const char *want)
{
    size_t n = strcspn(want, "=");
    char *key AUTOFREE = xstrndup(want, n);
    const char *value = image_label(image, key);
    return value && (!want[n] || streq(value, want + n + 1));
}

bool image_reference_matches(const char *name, const char *pattern)
{
    if (!name)
        return false;
    char *whole AUTOFREE = reference_shorten(name);
    /* A slash is matched by a slash only, as in Go's path.Match. */
    if (fnmatch(pattern, whole, FNM_PATHNAME) == 0)
        return true;
    char *slash = strrchr(whole, '/'), *tag = strpbrk(slash ? slash : whole, ":@");
    if (tag)
        *tag = '\0';
    return fnmatch(pattern, whole, FNM_PATHNAME) == 0;
}

bool image_filter_takes(const struct image_filter *f, const struct image *image, const char *name)
{
    bool asked = false, named = false;
    if (f->dangling >= 0 && f->dangling != !name)
        return false;
    if ((f->before && image->created >= f->before) || (f->after && image->created <= f->after))
        return false;
    for (const char *const *w = f->words; w && *w; w++) {
        const char *value;
        if ((value = value_of(*w, "label")) && !label_matches(image, value))
            return false;
        if ((value = value_of(*w, "label!")) && label_matches(image, value))
            return false;
        if ((value = value_of(*w, "reference"))) {
            asked = true;
            named = named || image_reference_matches(name, value);
        }
    }
    return !asked || named;
}
