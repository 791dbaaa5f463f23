#include "model/load.h"

#include "model/decode.h"

int project_load(const struct load_options *options, struct project **out, struct diag *d)
{
    struct document doc;
    struct err err AUTOERR = ERR_INIT;
    *out = NULL;
    if (document_load(options, &doc, d))
        return -1;
    if (!project_decode_document(&doc, out, &err))
        return 0;
    diag_error(d, NULL, "%s", err.msg);
    return -1;
}
