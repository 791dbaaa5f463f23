/* From the normalized document to the typed project. */
#ifndef MODEL_DECODE_H
#define MODEL_DECODE_H

#include "base/json.h"
#include "file/load.h"
#include "model/project.h"

/* doc must have passed validation and normalization: what the schema rules out is not checked
 * again. Takes the arena in any case. */
int project_decode(struct arena *take_arena, struct node *doc, struct project **out,
                   struct err *err);
/* The same with what else document_load() knows: files, folder, disabled services, the values of
 * secrets and configs that come from variables. Takes the document in any case. */
int project_decode_document(struct document *take_doc, struct project **out, struct err *err);
/* The canonical document as JSON that project_from_json() reads back: how a project travels to the
 * supervisor and rests on its disk. Everything the file front end knows and the document does not
 * (files, working_dir, env_files, disabled) goes along:
 * {"document": {"name", "services", "networks", ...}, "working_dir": S, "files": [],
 *  "env_files": [], "disabled": []}. The engine may cut "document.services" down to one service:
 * decoding does not insist that what depends_on names is there. New reference. */
json_t *project_to_json(const struct project *p);
int project_from_json(const json_t *j, struct project **out, struct err *err);

/* Lower-case hex SHA-256 over what makes a container of this service differ: label
 * com.docker.compose.config-hash. Heap. */
char *service_config_hash(const struct project *p, const struct service *s);

#endif
