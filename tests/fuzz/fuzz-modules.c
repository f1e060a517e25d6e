/* fuzz-modules.c - the text indexes of a guest's kernel modules: their contents one behind the
 * other, each ended by a zero byte. Whatever they say, what a module needs is found, and has an
 * end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/modules.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* The next of the contents; NULL when there is none. */
static GBytes *
next_index (const guint8 **data, gsize *size)
{
  const guint8 *end = *size ? memchr (*data, 0, *size) : NULL;
  gsize length = end ? (gsize)(end - *data) : *size;
  GBytes *bytes = *size ? g_bytes_new (*data, length) : NULL;

  *data += length + (end != NULL);
  *size -= length + (end != NULL);
  return bytes;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (GBytes) dep = next_index (&data, &size), softdep = next_index (&data, &size);
  g_autoptr (GBytes) alias = next_index (&data, &size), builtin = next_index (&data, &size);
  g_autoptr (H2kModules) modules = h2k_modules_new ("6.1.0-1", dep, softdep, alias, builtin);
  g_autoptr (GHashTable) set = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GPtrArray) sorted = NULL;
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, modules->paths);
  for (guint i = 0; i < 50 && g_hash_table_iter_next (&iter, &name, NULL); i++)
    h2k_modules_closure (modules, name, set);
  h2k_modules_closure (modules, "virtio_blk", set);
  sorted = h2k_modules_sorted (set);
  g_assert (sorted->len == g_hash_table_size (set));
  for (guint i = 1; i < sorted->len; i++)
    g_assert (strcmp (sorted->pdata[i - 1], sorted->pdata[i]) < 0);
  return 0;
}
