/* SHA-256 of a stream, as "sha256:HEX". libcrypto's: it uses the processor's SHA instructions. */
#ifndef IMAGE_MODULE_HASH_H
#define IMAGE_MODULE_HASH_H

#include <openssl/evp.h>
#include <stddef.h>

struct hash {
    EVP_MD_CTX *ctx;
};

void hash_init(struct hash *h);
void hash_update(struct hash *h, const void *data, size_t n);
/* out holds 72 bytes; h is released. */
char *hash_digest(struct hash *h, char out[72]);
void hash_release(struct hash *h);

#endif
