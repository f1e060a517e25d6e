/* payload.h - the compressions that Linux knows for an initramfs, as streams whose end is found.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "repair/initramfs-image.h"

/* Compressed bytes in, plain bytes out. */
typedef struct
{
  const guint8 *in;
  gsize in_size;    /* of what is at IN */
  gsize in_used;    /* of it has been taken */
  gsize in_need;    /* nothing was taken because as much has to be at IN */
  gboolean in_last; /* nothing comes after what is at IN */
  guint8 *out;
  gsize out_size;
  gsize out_used;
  gboolean ended; /* the stream's own end was reached */
} H2kPayloadStep;

typedef struct
{
  H2kPayload payload;
  const char *name;
  const char *magic;
  gsize magic_size;
  gsize out_size;
  /* NULL: known by its magic, but not supported. */
  gpointer (*open) (void);
  /* Take and give as much as is possible. Errors: H2K_ERROR_FORMAT. */
  gboolean (*step) (gpointer state, H2kPayloadStep *step, GError **error);
  void (*close) (gpointer state);
  /* DATA as one complete stream; NULL: not offered. */
  GBytes *(*pack) (GBytes *data);
} H2kPayloadOps;

/* Ended by a NULL name. */
extern const H2kPayloadOps h2k_payloads[];

/* The compression whose magic DATA begins with; NULL: none. */
const H2kPayloadOps *h2k_payload_find (GBytes *data);
/* All of DATA, one stream. Errors: H2K_ERROR_FORMAT (damaged, or more than LIMIT bytes). */
GBytes *h2k_payload_unpack (const H2kPayloadOps *ops, GBytes *data, gsize limit, GError **error);
