/* Unpacked layers reach the disk behind the back of whoever waits for an image: a detached process
 * syncs the file system and then takes the `unsynced` marks away. If the machine goes down before, the
 * marks stay, and the layers count as not there (layout_has_layer). */
#ifndef IMAGE_MODULE_SETTLE_H
#define IMAGE_MODULE_SETTLE_H

struct image_store;

/* Returns at once; does nothing where no layer is marked. */
void settle_layers(struct image_store *store);

#endif
