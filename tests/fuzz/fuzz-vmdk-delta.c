/* fuzz-vmdk-delta.c - a COWD or seSparse extent that is opened and read, also over what is there.
 * What an extent calls zero has to read as zeros, and what is not allocated must be left alone.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk.h"

#include <stdint.h>

#define READ_MAX (128 * 1024)
#define EXTENTS_MAX 200

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static gboolean
is_filled (const guint8 *buffer, gsize length, guint8 value)
{
  return length == 0 || (buffer[0] == value && memcmp (buffer, buffer + 1, length - 1) == 0);
}

static void
read_extent (H2kVmdkSparse *s, const H2kExtent *extent, guint8 *buffer)
{
  gsize n = (gsize)MIN (extent->length, READ_MAX);

  if (s->ops->pread (s, extent->offset, n, buffer, NULL) && extent->kind != H2K_EXTENT_DATA)
    g_assert (is_filled (buffer, n, 0));
  memset (buffer, 0xa5, n);
  if (s->ops->pread_over (s, extent->offset, n, buffer, NULL) && extent->kind != H2K_EXTENT_DATA)
    g_assert (is_filled (buffer, n, extent->kind == H2K_EXTENT_ZERO ? 0 : 0xa5));
  /* Over the ends of extents, and not aligned. */
  n = (gsize)MIN (s->size - extent->offset, READ_MAX);
  (void)s->ops->pread (s, extent->offset + n / 3, n - n / 3, buffer, NULL);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kVmdkCache) tables = h2k_vmdk_cache_new (128 * 1024);
  g_autoptr (H2kFile) file = h2k_file_new_memory ("fuzz", data, size);
  H2kVmdkSparseOpen *open = size && data[0] == 'C' ? h2k_vmdk_cowd_open : h2k_vmdk_sesparse_open;
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVmdkSparse) sparse = open (file, tables, NULL, &error);
  g_autofree guint8 *buffer = g_malloc (READ_MAX);
  H2kExtent extent;
  guint n = 0;

  g_assert ((sparse != NULL) == (error == NULL));
  if (!sparse)
    return 0;
  for (guint64 at = 0; at < sparse->size && n < EXTENTS_MAX; at += extent.length, n++)
    {
      if (!sparse->ops->extent (sparse, at, &extent, NULL))
        break;
      g_assert (extent.offset == at && extent.length > 0 && extent.length <= sparse->size - at);
      read_extent (sparse, &extent, buffer);
    }
  return 0;
}
