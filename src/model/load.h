/* From the files on disk to the typed project: what every command starts with. */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H

#include "file/load.h"
#include "model/project.h"

/* document_load() and project_decode(). -1 with the errors in d; warnings may be there in any
 * case. The project is the caller's: project_free(). */
int project_load(const struct load_options *options, struct project **out, struct diag *d);

#endif
