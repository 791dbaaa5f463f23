/* The contract of the file format, embedded: schema_json .. schema_json_end. */
    .section .rodata
    .global schema_json
    .global schema_json_end
schema_json:
    .incbin "schema/compose.schema.json"
schema_json_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
