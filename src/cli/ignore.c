#include "cli/ignore.h"

#include <ctype.h>

#include "base/fs.h"
#include "base/mem.h"

void ignore_add(struct ignore *i, const char *pattern)
{
    bool except = pattern[0] == '!';
    const char *p = pattern + except;
    while (starts_with(p, "./"))
        p += 2;
    while (*p == '/')
        p++;
    char *clean AUTOFREE = xasprintf("%s%s", except ? "!" : "", p);
    size_t n = strlen(clean);
    while (n > 1 && clean[n - 1] == '/')
        clean[--n] = '\0';
    if (*p)
        strv_push(&i->patterns, clean);
}

void ignore_read(struct ignore *i, const char *file)
{
    char *text AUTOFREE = NULL, *save = NULL;
    if (fs_read(file, 1 << 20, &text, NULL, NULL) < 0)
        return;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        while (isspace((unsigned char)*line))
            line++;
        size_t n = strlen(line);
        while (n && isspace((unsigned char)line[n - 1]))
            line[--n] = '\0';
        if (*line && *line != '#')
            ignore_add(i, line);
    }
}

/* "[a-z]" and "[^a-z]"; *end: behind the bracket. */
static bool class_matches(const char *p, char c, const char **end)
{
    bool negate = p[1] == '^' || p[1] == '!', hit = false;
    p += 1 + negate;
    for (bool first = true; *p && (*p != ']' || first); first = false) {
        if (p[1] == '-' && p[2] && p[2] != ']') {
            hit = hit || (c >= p[0] && c <= p[2]);
            p += 3;
        } else {
            hit = hit || c == *p;
            p++;
        }
    }
    *end = *p ? p + 1 : p;
    return hit != negate;
}

bool glob_matches(const char *pattern, const char *path)
{
    while (*pattern) {
        if (pattern[0] == '*' && pattern[1] == '*') {
            pattern += 2;
            if (*pattern == '/')
                pattern++;
            if (!*pattern)
                return true;
            for (const char *at = path;; at++) {
                if ((at == path || at[-1] == '/') && glob_matches(pattern, at))
                    return true;
                if (!*at)
                    return false;
            }
        }
        if (*pattern == '*') {
            pattern++;
            for (const char *at = path;; at++) {
                if (glob_matches(pattern, at))
                    return true;
                if (!*at || *at == '/')
                    return false;
            }
        }
        if (!*path)
            return false;
        if (*pattern == '[') {
            if (*path == '/' || !class_matches(pattern, *path, &pattern))
                return false;
        } else if (*pattern == '?') {
            if (*path == '/')
                return false;
            pattern++;
        } else {
            if (*pattern == '\\' && pattern[1])
                pattern++;
            if (*pattern++ != *path)
                return false;
        }
        path++;
    }
    return !*path;
}

/* The path itself or one of the folders above it. */
static bool covers(const char *pattern, const char *path)
{
    char *part AUTOFREE = xstrdup(path);
    for (;;) {
        if (glob_matches(pattern, part))
            return true;
        char *slash = strrchr(part, '/');
        if (!slash)
            return false;
        *slash = '\0';
    }
}

bool ignore_matches(const struct ignore *i, const char *path)
{
    bool ignored = false;
    for (char **p = i->patterns; p && *p; p++) {
        bool except = **p == '!';
        if (covers(*p + except, path))
            ignored = !except;
    }
    return ignored;
}

void ignore_release(struct ignore *i)
{
    strv_free(i->patterns);
    i->patterns = NULL;
}
