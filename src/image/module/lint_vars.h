/* The rules of lint.h about variables: UndefinedVar, UndefinedArgInFrom, InvalidDefaultArgInFrom. */
#ifndef IMAGE_MODULE_LINT_VARS_H
#define IMAGE_MODULE_LINT_VARS_H

#include "image/module/instructions.h"
#include "image/module/lint.h"

struct lint_vars;

struct lint_vars *lint_vars_new(const struct lint_source *source, lint_warning warn, void *ctx);
void lint_vars_free(struct lint_vars *v);
/* The instructions in their order. */
void lint_vars_instruction(struct lint_vars *v, const struct instruction *i);

#endif
