/* secret.c - bytes that are wiped when they are freed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/util.h"

typedef struct
{
  gsize size;
  guint8 data[];
} Secret;

static void
secret_free (gpointer data)
{
  Secret *secret = data;

  explicit_bzero (secret->data, secret->size);
  g_free (secret);
}

GBytes *
h2k_secret_new (gsize size, guint8 **data)
{
  Secret *secret = g_malloc0 (sizeof *secret + size);

  secret->size = size;
  *data = secret->data;
  return g_bytes_new_with_free_func (secret->data, size, secret_free, secret);
}
