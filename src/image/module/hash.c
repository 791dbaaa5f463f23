#include "image/module/hash.h"

#include <stdlib.h>
#include <string.h>

void hash_init(struct hash *h)
{
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1)
        abort(); /* out of memory: libcrypto has no other reason here */
}

void hash_update(struct hash *h, const void *data, size_t n)
{
    EVP_DigestUpdate(h->ctx, data, n);
}

char *hash_digest(struct hash *h, char out[72])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_DigestFinal_ex(h->ctx, raw, &n);
    char *p = stpcpy(out, "sha256:");
    for (unsigned i = 0; i < 32; i++) {
        *p++ = digits[raw[i] >> 4];
        *p++ = digits[raw[i] & 15];
    }
    *p = '\0';
    hash_release(h);
    return out;
}

void hash_release(struct hash *h)
{
    EVP_MD_CTX_free(h->ctx);
    h->ctx = NULL;
}
