/* fuzz-vmdk.c - a VMDK's descriptor, or a sparse extent that is opened and read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk.h"

#include <stdint.h>

#define READ_MAX (4 * 1024 * 1024)
#define EXTENTS_MAX 1000

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
parse_descriptor (const char *text, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kVmdkDescriptor) descriptor = h2k_vmdk_descriptor_parse (text, size, "fuzz", &error);

  g_assert ((descriptor != NULL) == (error == NULL));
  (void)h2k_vmdk_is_descriptor ((const guint8 *)text, size);
  if (!descriptor)
    return;
  g_assert (descriptor->extents->len > 0);
  for (guint i = 0; i < descriptor->extents->len; i++)
    {
      const H2kVmdkExtent *extent = &g_array_index (descriptor->extents, H2kVmdkExtent, i);
      g_assert (extent->sectors > 0);
      g_assert ((extent->name == NULL) == (extent->type == H2K_VMDK_ZERO));
    }
}

/* Both ends of the extent in odd pieces, so that whole grains and parts of them are read. */
static void
read_extent (H2kVmdkSparse *sparse)
{
  static const gsize pieces[] = {1, 511, 4096, 100000, 1024 * 1024};
  g_autofree guint8 *buffer = g_malloc (1024 * 1024);
  guint64 size = sparse->size, read = 0;
  H2kExtent extent;
  guint n = 0;

  for (guint64 offset = 0; offset < size && n < EXTENTS_MAX; offset += extent.length, n++)
    {
      if (!sparse->ops->extent (sparse, offset, &extent, NULL))
        return;
      g_assert (extent.offset == offset && extent.length > 0 && extent.length <= size - offset);
    }
  n = 0;
  for (guint64 offset = 0; offset < size && read < READ_MAX; n++)
    {
      gsize piece = (gsize)MIN (pieces[n % G_N_ELEMENTS (pieces)], size - offset);
      (void)sparse->ops->pread (sparse, offset, piece, buffer, NULL);
      read += piece;
      offset += piece;
      if (size > READ_MAX && read > READ_MAX / 2 && offset < size - READ_MAX / 2)
        offset = size - READ_MAX / 2;
    }
}

static void
open_extent (const uint8_t *data, size_t size)
{
  g_autoptr (H2kVmdkCache) tables = h2k_vmdk_cache_new (4096);
  g_autoptr (H2kVmdkCache) grains = h2k_vmdk_cache_new (65536);
  g_autoptr (H2kVmdkSparse) sparse = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;
  gsize length = 0;
  g_autoptr (H2kFile) file = h2k_file_new_memory ("fuzz", data, size);

  sparse = h2k_vmdk_sparse_open (file, tables, grains, &error);
  g_assert ((sparse != NULL) == (error == NULL));
  if (!sparse)
    return;
  text = h2k_vmdk_sparse_read_descriptor (sparse, &length, NULL);
  if (text)
    parse_descriptor (text, length);
  read_extent (sparse);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  if (size >= 4 && memcmp (data, "KDMV", 4) == 0)
    open_extent (data, size);
  else
    parse_descriptor ((const char *)data, size);
  return 0;
}
